#include "table/row_map.hpp"

#include <string>

#include "base/error.hpp"

namespace persia {

namespace {

// How many rows ahead index lines are fetched.
constexpr std::size_t kAhead = 128;

}  // namespace

std::uint64_t RowMap::put(const RowBlock& block, Shard shard, unsigned recency) {
    std::uint64_t kept = 0;
    for (std::size_t i = 0; i < block.size(); ++i) {
        if (i + kAhead < block.size()) __builtin_prefetch(index_.home(block.signs[i + kAhead]));
        const std::uint64_t sign = block.signs[i];
        if (shard.count > 1 && shard_of(sign, shard.count) != shard.index) continue;
        const std::uint32_t dim = block.dims[i];
        store_row(arena_->storage(), block.values[i], dim,
                  place(sign, dim, block.recency.empty() ? recency : block.recency[i]));
        ++kept;
    }
    return kept;
}

bool RowMap::forget(std::uint64_t sign) {
    const std::uint32_t ref = index_.remove(sign);
    if (ref != kNoRef && ref != kDeletedRef) arena_->release(slot_of_ref(ref));
    return ref != kNoRef;
}

void RowMap::add_tombstone(std::uint64_t sign) {
    const Entry found = index_.find(sign);
    if (found.ref == kDeletedRef) return;
    if (found.ref == kNoRef) {
        index_.insert(sign, kDeletedRef, 0);
        return;
    }
    Index::replace(found, kDeletedRef);
    arena_->release(slot_of_ref(found.ref));
}

}  // namespace persia
