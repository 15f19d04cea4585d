// What a whole checkpoint says otherwise than a table: found in one pass over the checkpoint's rows, while the table serves.
//
// The snapshot is held from the constructor to finish(), so nothing that this pass depends on moves: a row keeps its slot as
// long as no layer of the snapshot has its sign. One bit for each slot notes which rows the checkpoint has; the others go. What
// the pass needs beside the layer that it makes is therefore an eighth of a byte for each row of the table.
//
// Thread safety: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/rows.hpp"
#include "table/snapshot.hpp"

namespace persia {

class CheckpointDiff {
  public:
    // most_bytes: what the layer, and the layer that keeps the replaced rows for earlier epochs, may take each.
    // most_added: how many rows may come that the table does not have; 0: any number.
    CheckpointDiff(std::shared_ptr<const Snapshot> before, std::size_t most_bytes, std::uint64_t most_added);

    // The checkpoint has no say about these signs: packets that the table has already say what their rows are.
    void keep(std::span<const std::uint64_t> signs);

    // The rows of these signs are put also if they are the same, so that whoever publishes the layer learns of them.
    void renew(std::span<const std::uint64_t> signs);

    // Rows of the checkpoint: those of the shard are compared. A row that the table does not have is only put if the block does
    // not tell its recency, or at least that one. Returns how many belong to the shard. Throws TooLarge for more than
    // most_bytes.
    std::uint64_t put(const RowBlock& block, Shard shard, unsigned least_recency = 0);

    // All rows were put: the others of the snapshot are deleted. Returns the layer; nothing else may be called afterwards.
    // Throws TooLarge as put() does.
    Layer finish();

    std::uint64_t replaced() const { return replaced_; }  // rows with other numbers, or another dim
    std::uint64_t added() const { return added_; }
    std::uint64_t left_out() const { return left_out_; }  // that would have been added
    std::uint64_t removed() const { return removed_; }    // counted by finish()

  private:
    // Which of a map's slots hold a row that the checkpoint has.
    using Slots = std::vector<std::uint64_t>;
    struct Found {
        std::size_t level = 0;  // of the layers, newest first, and then the base
        std::uint32_t ref = 0;
        const RowMap* rows = nullptr;
    };

    const RowMap& rows_at(std::size_t level) const;
    Found find(std::uint64_t sign) const;
    void compare(const RowBlock& block, std::size_t i, const Found& found, unsigned least_recency);
    void put_row(const RowBlock& block, std::size_t i, std::size_t bytes_before);
    void spend(std::size_t row_bytes);
    void remove_level(std::size_t level);
    bool is_marked(std::size_t level, std::uint32_t slot) const;
    void mark(std::size_t level, std::uint32_t slot);

    std::shared_ptr<const Snapshot> before_;
    const std::size_t most_bytes_;
    const std::uint64_t most_added_;
    Layer layer_;
    Index told_;  // signs that keep() and renew() were told
    std::vector<Slots> marked_;
    std::vector<std::byte> row_;  // the row that is compared, as the table stores it
    std::size_t bytes_ = 0;
    std::uint64_t replaced_ = 0, added_ = 0, left_out_ = 0, removed_ = 0;
};

}  // namespace persia
