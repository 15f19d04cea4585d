// Fills one RowMap from several threads at a time. A block's rows are sorted by the part of the index that they belong to, and
// each part has a lock; from the arena a thread takes slots by the hundred.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "table/row_map.hpp"

namespace persia {

class ParallelPut {
  public:
    // For maps whose index has so many parts.
    explicit ParallelPut(std::size_t parts) : part_locks_(new std::mutex[parts]) {}

    // Stores every row of the block that belongs to the shard; of two rows of one sign, the later. Returns how many belong.
    // Recency is that of the block, or 0. After an error some of the rows are stored. Any number of threads may be in here with
    // one map, and nobody elsewhere with it.
    std::uint64_t put(RowMap& map, const RowBlock& block, Shard shard);

  private:
    std::unique_ptr<std::mutex[]> part_locks_;
    std::mutex arena_lock_;
};

}  // namespace persia
