// sign -> row: an index and the arena that it points into. Both a table's base and each of its layers are one.
//
// Thread safety: as Index. Copying a RowMap is cheap: the copy shares the rows and, until they grow, the index's parts.
#pragma once

#include <cstdint>
#include <memory>

#include "base/rows.hpp"
#include "table/index.hpp"
#include "table/row_arena.hpp"

namespace persia {

class RowMap {
  public:
    RowMap(RowStorage storage, IndexShape shape) : index_(shape), arena_(std::make_shared<RowArena>(storage)) {}

    // Where the row of `sign` is to be written: its present place, or a new one if it has none of this dim. `recency`, 0..3 as
    // in RowBlock, is that of a new sign; one that is there becomes the most recent by 3, and stays as old as it is by less.
    // Throws TooLarge if memory is used up, InvalidInput for a dim outside 1..kMaxDim.
    std::byte* place(std::uint64_t sign, std::uint32_t dim, unsigned recency) { return place_in(*arena_, sign, dim, recency); }

    // As place(), with slots that come from `slots.allocate(dim)` and go to `slots.release(slot)`. Several threads may do this
    // at a time if their signs are of different parts of the index, and `slots` sees to it that one at a time is in the arena.
    template <class Slots>
    std::byte* place_in(Slots& slots, std::uint64_t sign, std::uint32_t dim, unsigned recency) {
        const Entry found = index_.find(sign);
        const bool has_row = found.ref != kNoRef && found.ref != kDeletedRef;
        if (found.ref != kNoRef && recency == 3) found.mark_used();
        if (has_row && arena_->dim(slot_of_ref(found.ref)) == dim) return arena_->row(slot_of_ref(found.ref));
        const std::uint32_t slot = slots.allocate(dim);
        if (found.ref != kNoRef) {
            Index::replace(found, ref_of_slot(slot));
            if (has_row) slots.release(slot_of_ref(found.ref));
            return arena_->row(slot);
        }
        try {
            index_.insert(sign, ref_of_slot(slot), recency);
        } catch (...) {
            slots.release(slot);
            throw;
        }
        return arena_->row(slot);
    }

    // Stores every row of the block that belongs to the shard; of two rows of one sign, the later. Returns how many belong.
    // `recency` is for blocks that do not tell.
    std::uint64_t put(const RowBlock& block, Shard shard, unsigned recency);

    // Forgets a sign, in a layer its change. False if it was not there.
    bool forget(std::uint64_t sign);

    // In a layer: notes that the sign has no row from here on.
    void add_tombstone(std::uint64_t sign);

    const Index& index() const { return index_; }
    Index& index() { return index_; }
    const RowArena& arena() const { return *arena_; }
    RowArena& arena() { return *arena_; }
    std::size_t bytes() const { return index_.bytes() + arena_->bytes(); }

  private:
    Index index_;
    std::shared_ptr<RowArena> arena_;
};

}  // namespace persia
