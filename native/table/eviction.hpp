// Which rows go when a table is over its capacity: those least recently used, told in four ages (used since the clock's hand
// last came by, one, two, and more rounds ago), as a clock with three bits per row.
#pragma once

#include <cstdint>
#include <vector>

#include "table/index.hpp"

namespace persia {

// The hand of the clock. Thread safety: one caller at a time; lookups may mark rows as used meanwhile.
class EvictionClock {
  public:
    // Up to `wanted` signs, the oldest first as far as ages tell; ages the rows that the hand passes on its way.
    std::vector<std::uint64_t> pick(const Index& index, std::uint64_t wanted);

  private:
    std::size_t hand_ = 0;  // a part of the index: where the next pick goes on
};

}  // namespace persia
