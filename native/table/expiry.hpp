// When rows end: sign -> unix seconds, for those rows of a table that have a time to live.
//
// It stands beside a table and never looks into it by itself: whoever publishes layers lets follow() see each one first, and
// from time to time publishes deletions of what take_ended() says.
//
// Thread safety: none.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/rows.hpp"
#include "table/index.hpp"
#include "table/snapshot.hpp"

namespace persia {

// Rows that were there, and went.
struct Gone {
    std::uint64_t deleted = 0;
    std::uint64_t expired = 0;
};

class Expiry {
  public:
    Expiry() : ends_(kBaseShape) {}

    // Notes when rows of a checkpoint end. REQUIRES: as many ends as signs.
    void set(std::span<const std::uint64_t> signs, std::span<const std::uint64_t> ends, Shard shard);

    // Takes over what a layer says, which is published next: the ends of its rows, and that its other signs have none any more.
    // Rows that have ended by `now` become deletions in the layer. `before` is what the layer goes on.
    Gone follow(Layer& layer, const Snapshot& before, std::uint64_t now);

    // The signs whose rows have ended by `now`. They are forgotten: their deletions are to be published before any other layer.
    std::vector<std::uint64_t> take_ended(std::uint64_t now);

    // Of the rows that have an end, in no order.
    std::vector<std::uint64_t> signs() const;

    std::uint64_t size() const { return ends_.size(); }
    std::size_t bytes() const { return ends_.bytes(); }

  private:
    void set_one(std::uint64_t sign, std::uint32_t end);

    Index ends_;                            // sign -> seconds in the place of a reference
    std::uint32_t earliest_ = kDeletedRef;  // no row ends before
};

}  // namespace persia
