#include "plan/columns.hpp"

#include <algorithm>
#include <cstddef>
#include <string>

#include "base/error.hpp"

namespace persia {

namespace {

// How many places a feature's ids may stand at, each counted once per round of its hash stack.
constexpr std::size_t kMaxStackedPositions = std::size_t{1} << 30;

void plain_signs(const Batch& batch, const FeatureView& feature, const Slot& slot, const Slots& slots, SignScratch& scratch) {
    const auto ids = std::span(batch.ids).subspan(feature.ids_begin, feature.ids_end - feature.ids_begin);
    scratch.signs.resize(ids.size());
    if (slot.modulo != 0 || slot.ids_are_signs) {
        std::ranges::transform(ids, scratch.signs.begin(), [&](std::uint64_t id) { return slots.sign_of(id, slot); });
    } else {
        std::ranges::transform(ids, scratch.signs.begin(), [&](std::uint64_t id) { return slots.sign_of(id, slot.prefix); });
    }
}

// The place of `sign` in scratch.signs, where it is put if it is new. The table is a power of two, at most half full.
std::uint32_t place_of(std::uint64_t sign, SignScratch& scratch) {
    const std::size_t mask = scratch.table.size() - 1;
    std::size_t at = table_hash(sign) & mask;
    for (; scratch.table[at] != 0; at = (at + 1) & mask) {
        if (scratch.signs[scratch.table[at] - 1] == sign) return scratch.table[at] - 1;
    }
    scratch.signs.push_back(sign);
    scratch.table[at] = static_cast<std::uint32_t>(scratch.signs.size());
    return scratch.table[at] - 1;
}

// Every id becomes one sign per round; ids that meet in a sign share it.
SignColumn hash_stacked(const Batch& batch, const FeatureView& feature, const Slot& slot, const Slots& slots,
                        SignScratch& scratch) {
    const std::size_t ids = feature.ids_end - feature.ids_begin;
    const std::uint32_t rounds = slot.hash_stack_rounds;
    const std::size_t positions = batch.position_offsets[feature.ids_end] - batch.position_offsets[feature.ids_begin];
    // Every id has a position at least, so this bounds the signs too, and no count below leaves its 32 bits.
    if (positions > kMaxStackedPositions / rounds) {
        throw FeatureError(std::string(feature.name), "expected at most " + std::to_string(kMaxStackedPositions / rounds) +
                                                          " places of ids with " + std::to_string(rounds) +
                                                          " hash stack rounds, got " + std::to_string(positions));
    }
    std::size_t size = 4;
    while (size < 2 * ids * rounds) size *= 2;
    scratch.table.assign(size, 0);
    scratch.signs.clear();
    scratch.distinct.clear();
    scratch.offsets.assign(1, 0);
    for (std::size_t i = feature.ids_begin; i < feature.ids_end; ++i) {
        const std::uint32_t count = batch.position_offsets[i + 1] - batch.position_offsets[i];
        std::uint64_t hash = batch.ids[i];
        for (std::uint32_t round = 0; round < rounds; ++round) {
            hash = farmhash64(hash);
            const std::uint64_t id = hash % slot.hash_stack_size + round * slot.hash_stack_size;
            const std::uint32_t place = place_of(slots.sign_of(id, slot.prefix), scratch);
            scratch.distinct.push_back(place);
            if (place + 1 == scratch.offsets.size()) scratch.offsets.push_back(0);
            scratch.offsets[place + 1] += count;
        }
    }
    for (std::size_t i = 1; i < scratch.offsets.size(); ++i) scratch.offsets[i] += scratch.offsets[i - 1];
    scratch.positions.resize(scratch.offsets.back());
    // offsets[place] runs ahead while the positions are filled in, and is then set back.
    std::size_t k = 0;
    for (std::size_t i = feature.ids_begin; i < feature.ids_end; ++i) {
        for (std::uint32_t round = 0; round < rounds; ++round, ++k) {
            for (std::uint32_t p = batch.position_offsets[i]; p < batch.position_offsets[i + 1]; ++p) {
                scratch.positions[scratch.offsets[scratch.distinct[k]]++] = batch.positions[p];
            }
        }
    }
    for (std::size_t i = scratch.offsets.size() - 1; i > 0; --i) scratch.offsets[i] = scratch.offsets[i - 1];
    scratch.offsets[0] = 0;
    return {scratch.signs, scratch.offsets, scratch.positions};
}

}  // namespace

SignColumn column_of(const Batch& batch, const FeatureView& feature, const Slot& slot, const Slots& slots,
                     SignScratch& scratch) {
    if (slot.hash_stack_rounds > 0) return hash_stacked(batch, feature, slot, slots, scratch);
    plain_signs(batch, feature, slot, slots, scratch);
    const std::size_t n = feature.ids_end - feature.ids_begin;
    const auto offsets = std::span(batch.position_offsets).subspan(feature.ids_begin, n + 1);
    if (!slot.default_id || n == 0) return {scratch.signs, offsets, batch.positions};
    scratch.signs.push_back(slots.sign_of(*slot.default_id, slot));
    scratch.offsets.assign(offsets.begin(), offsets.end());
    scratch.offsets.push_back(offsets.back());
    return {scratch.signs, scratch.offsets, batch.positions};
}

}  // namespace persia
