#include "table/apply_layer.hpp"

#include <cstring>

namespace persia {

void apply_layer(const Layer& layer, RowMap& to, Deletions deletions, const std::atomic<bool>* stopping) {
    const RowArena& arena = layer.rows.arena();
    struct Change {
        std::uint64_t sign;
        std::uint32_t ref;
    };
    Change ahead[kAhead];
    std::size_t seen = 0;
    const auto apply_one = [&](const Change& change) {
        if (change.ref == kDeletedRef) {
            if (deletions == Deletions::stay) return to.add_tombstone(change.sign);
            to.forget(change.sign);
            return;
        }
        const std::uint32_t slot = slot_of_ref(change.ref);
        const std::uint32_t dim = arena.dim(slot);
        std::memcpy(to.place(change.sign, dim, 3), arena.row(slot), row_bytes(arena.storage(), dim));
    };
    // The rows that it will copy, and where to. Entries come in the order of the base's index, rows in none.
    const auto fetch_rows = [&](const Change& change) {
        if (change.ref == kDeletedRef) return;
        __builtin_prefetch(arena.row(slot_of_ref(change.ref)));
        const Entry found = to.index().find(change.sign);
        if (found.ref != kNoRef && found.ref != kDeletedRef) __builtin_prefetch(to.arena().row(slot_of_ref(found.ref)), 1);
    };
    layer.rows.index().for_each([&](const Entry& entry, std::uint64_t sign) {
        if (seen % 1024 == 0 && stopping != nullptr && stopping->load(std::memory_order_relaxed)) throw Stopped();
        __builtin_prefetch(to.index().home(sign));
        Change& turn = ahead[seen % kAhead];
        if (seen >= kAhead) apply_one(turn);
        if (seen >= kRowsAhead) fetch_rows(ahead[(seen - kRowsAhead) % kAhead]);
        turn = {sign, entry.ref};
        ++seen;
    });
    for (std::size_t i = seen < kAhead ? 0 : seen - kAhead; i < seen; ++i) apply_one(ahead[i % kAhead]);
}

}  // namespace persia
