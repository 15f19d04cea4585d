// From the ids of a feature to the signs that shards are asked for.
//
// Thread safety: plain functions and values.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "batch/batch.hpp"
#include "plan/slots.hpp"

namespace persia {

// One feature's signs with all places where each stands. A sign is there twice where two ids are the same by the slot's modulo.
struct SignColumn {
    std::span<const std::uint64_t> signs;    // (n)
    std::span<const std::uint32_t> offsets;  // (n + 1) into positions
    std::span<const Position> positions;
};

// Memory that one feature after the other uses again.
struct SignScratch {
    std::vector<std::uint64_t> signs;
    std::vector<std::uint32_t> offsets;
    std::vector<Position> positions;
    std::vector<std::uint32_t> distinct;  // sign of (id, round): its place in `signs`
    std::vector<std::uint32_t> table;     // place in `signs` + 1, open addressing
};

// It lives as long as the batch, and until the scratch is used again. Where the slot's default row is that of an id, and the
// feature has ids, the last sign is that row's, which stands nowhere. Throws FeatureError for an id that a slot with
// ids_are_signs cannot have, and for too many places of a hash stack.
SignColumn column_of(const Batch& batch, const FeatureView& feature, const Slot& slot, const Slots& slots,
                     SignScratch& scratch);

}  // namespace persia
