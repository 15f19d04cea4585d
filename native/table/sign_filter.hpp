// Says of most signs that a layer does not know them, from one or two bytes per sign of it. So a lookup of signs that a packet
// left alone is spared a line of the layer's index for each.
//
// Thread safety: may_have() from any number of threads once fill() has returned.
#pragma once

#include <cstdint>
#include <vector>

#include "table/index.hpp"

namespace persia {

class SignFilter {
  public:
    // For these signs, and no others from here on.
    void fill(const Index& index);

    // Whether there may be such a sign, by table_hash() of it: true for up to one in eight of those that are not there, and for
    // all as long as the filter was not filled.
    bool may_have(std::uint64_t hash) const {
        const std::uint64_t bit = hash & mask_;
        return words_.empty() || (words_[bit >> 6] >> (bit & 63) & 1) != 0;
    }

    std::size_t bytes() const { return words_.size() * sizeof(std::uint64_t); }

  private:
    std::vector<std::uint64_t> words_;
    std::uint64_t mask_ = 0;
};

}  // namespace persia
