#include "plan/plan.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"

namespace persia {

namespace {

// How many places a feature's ids may stand at, each counted once per round of its hash stack.
constexpr std::size_t kMaxStackedPositions = std::size_t{1} << 30;

// One feature's distinct signs with all places where each stands.
struct Column {
    std::span<const std::uint64_t> signs;    // (n)
    std::span<const std::uint32_t> offsets;  // (n + 1) into positions
    std::span<const Position> positions;
};

// Where the next sign of a shard's request is written.
struct Cursor {
    std::uint64_t* sign = nullptr;
    std::uint32_t* count = nullptr;
    std::uint16_t* sample = nullptr;
    std::uint16_t* column = nullptr;  // null where columns do not matter
};

// Memory that one feature after the other uses again.
struct Scratch {
    std::vector<std::uint64_t> signs;
    std::vector<std::uint32_t> offsets;
    std::vector<Position> positions;
    std::vector<std::uint32_t> shards;    // of each sign
    std::vector<std::uint64_t> counts;    // of each shard, as kOneSign says
    std::vector<Cursor> cursors;          // of each shard
    std::vector<std::uint32_t> distinct;  // sign of (id, round): its place in `signs`
    std::vector<std::uint32_t> table;     // place in `signs` + 1, open addressing
    std::vector<char> seen;               // samples
};

void plain_signs(const Batch& batch, const FeatureView& feature, const Slot& slot, const Slots& slots, Scratch& scratch) {
    const auto ids = std::span(batch.ids).subspan(feature.ids_begin, feature.ids_end - feature.ids_begin);
    scratch.signs.resize(ids.size());
    std::ranges::transform(ids, scratch.signs.begin(), [&](std::uint64_t id) { return slots.sign_of(id, slot.prefix); });
}

// The place of `sign` in scratch.signs, where it is put if it is new. The table is a power of two, at most half full.
std::uint32_t place_of(std::uint64_t sign, Scratch& scratch) {
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
Column hash_stacked(const Batch& batch, const FeatureView& feature, const Slot& slot, const Slots& slots, Scratch& scratch) {
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

Column column_of(const Batch& batch, const FeatureView& feature, const Slot& slot, const Slots& slots, Scratch& scratch) {
    if (slot.hash_stack_rounds > 0) return hash_stacked(batch, feature, slot, slots, scratch);
    plain_signs(batch, feature, slot, slots, scratch);
    const std::size_t n = feature.ids_end - feature.ids_begin;
    return {scratch.signs, std::span(batch.position_offsets).subspan(feature.ids_begin, n + 1), batch.positions};
}

// Whether every number of the feature's tensor comes from one row, so that it may be made f16 by the shard. Where the ids stand
// decides, not how many each sample is said to have.
bool takes_single_rows(const Batch& batch, const FeatureView& feature, const Slot& slot, Scratch& scratch) {
    if (slot.signs_per_id() != 1 || slot.weighted) return false;
    if (!slot.summation) return true;
    const std::uint32_t begin = batch.position_offsets[feature.ids_begin];
    const std::uint32_t end = batch.position_offsets[feature.ids_end];
    if (end - begin > feature.batch_size) return false;
    scratch.seen.assign(feature.batch_size, 0);
    return std::ranges::all_of(std::span(batch.positions).subspan(begin, end - begin),
                               [&](const Position& position) { return std::exchange(scratch.seen[position.sample], 1) == 0; });
}

// The smaller thing is moved: all rows once, or from each shard that has some a sum per sample and to it the positions.
AnswerKind smaller_answer(const Slot& slot, const Column& column, std::size_t batch_size, std::size_t shards_asked) {
    if (!slot.summation || slot.weighted) return AnswerKind::rows;
    const std::size_t positions = column.offsets.back() - column.offsets.front();
    const std::size_t rows = column.signs.size() * slot.dim * sizeof(float);
    const std::size_t sums = shards_asked * batch_size * slot.dim * sizeof(float) + positions * sizeof(std::uint16_t) +
                             column.signs.size() * sizeof(std::uint32_t);
    return sums < rows ? AnswerKind::sums : AnswerKind::rows;
}

template <class T>
T* extend(std::vector<T>& column, std::size_t by) {
    column.resize(column.size() + by);
    return column.data() + (column.size() - by);
}

Cursor make_room(PlannedRequest& request, AnswerKind kind, bool columns, std::size_t signs, std::size_t positions) {
    std::uint64_t* sign = extend(request.signs, signs);
    if (kind == AnswerKind::sums)
        return {sign, extend(request.sum_counts, signs), extend(request.sum_samples, positions), nullptr};
    return {sign, extend(request.row_counts, signs), extend(request.row_samples, positions),
            columns ? extend(request.row_columns, positions) : nullptr};
}

// Signs and their positions are counted in one number, for each shard's is written at every sign: 32 bits each.
constexpr std::uint64_t kOneSign = std::uint64_t{1} << 32;

// Hands the column's signs to the shards that they live on.
void distribute(const Column& column, const ShardOf& shard_of_sign, bool single_rows, std::uint32_t feature, const Slot& slot,
                std::uint32_t batch_size, Scratch& scratch, std::vector<PlannedRequest>& requests) {
    const auto shards = static_cast<std::uint32_t>(requests.size());
    const std::size_t n = column.signs.size();
    scratch.counts.assign(shards, 0);
    scratch.shards.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint32_t shard = shard_of_sign(column.signs[i]);
        scratch.shards[i] = shard;
        scratch.counts[shard] += kOneSign + (column.offsets[i + 1] - column.offsets[i]);
    }
    const auto asked = static_cast<std::size_t>(std::ranges::count_if(scratch.counts, [](auto count) { return count != 0; }));
    const AnswerKind kind = single_rows ? AnswerKind::halves : smaller_answer(slot, column, batch_size, asked);
    scratch.cursors.assign(shards, {});
    for (std::uint32_t s = 0; s < shards; ++s) {
        const auto signs = static_cast<std::uint32_t>(scratch.counts[s] / kOneSign);
        const auto positions = static_cast<std::uint32_t>(scratch.counts[s] % kOneSign);
        if (signs == 0) continue;
        requests[s].parts.push_back({slot.feature, kind, slot.dim, batch_size, signs, positions});
        requests[s].features.push_back(feature);
        scratch.cursors[s] = make_room(requests[s], kind, !slot.summation || slot.weighted, signs, positions);
    }
    for (std::size_t i = 0; i < n; ++i) {
        Cursor& to = scratch.cursors[scratch.shards[i]];
        *to.sign++ = column.signs[i];
        *to.count++ = column.offsets[i + 1] - column.offsets[i];
        for (std::uint32_t p = column.offsets[i]; p < column.offsets[i + 1]; ++p) {
            *to.sample++ = column.positions[p].sample;
            if (to.column != nullptr) *to.column++ = column.positions[p].column;
        }
    }
}

// Moves the ids of too full samples to the left by as many columns as there are ids too many. A column below 0 becomes one
// beyond all. REQUIRES: the positions that scratch.counts tells of are the last ones of each request.
void keep_last(std::span<const std::uint32_t> ids_per_sample, const Slot& slot, const Scratch& scratch,
               std::vector<PlannedRequest>& requests) {
    constexpr std::uint16_t kBeyond = 0xffff;
    for (std::size_t s = 0; s < requests.size(); ++s) {
        const std::size_t positions = scratch.counts[s] % kOneSign;
        std::uint16_t* column = requests[s].row_columns.data() + (requests[s].row_columns.size() - positions);
        const std::uint16_t* sample = requests[s].row_samples.data() + (requests[s].row_samples.size() - positions);
        for (std::size_t i = 0; i < positions; ++i) {
            const std::uint32_t ids = ids_per_sample[sample[i]];
            const std::uint32_t shift = ids > slot.sample_fixed_size ? ids - slot.sample_fixed_size : 0;
            column[i] = column[i] < shift ? kBeyond : static_cast<std::uint16_t>(column[i] - shift);
        }
    }
}

// What the answers are made use of with.
PlannedFeature planned_of(const Batch& batch, const FeatureView& feature, const Slot& slot) {
    PlannedFeature planned{slot, feature.batch_size, {}, {}};
    const std::span<const std::uint32_t> ids_per_sample = batch.counts_of(feature);
    if (slot.weighted) {
        planned.factors = factors_of(batch, feature, slot);
    } else if (feature.weights) {
        throw FeatureError(slot.name, "expected no weights, as the embedding config does not have `weighted: true`, got some");
    } else if (slot.summation && (slot.sqrt_scaling || slot.mean)) {
        for (const std::uint32_t ids : ids_per_sample) planned.ids_per_sample.push_back(ids * slot.signs_per_id());
    } else if (!slot.summation) {
        for (const std::uint32_t ids : ids_per_sample) {
            planned.cut_ids += ids > slot.sample_fixed_size ? ids - slot.sample_fixed_size : 0;
        }
    }
    return planned;
}

FeatureError no_slot(const Slots& slots, std::string_view feature) {
    const Slot* nearest = slots.nearest(feature);
    return {std::string(feature), "the embedding config has no slot of this name" +
                                      (nearest == nullptr ? "" : ": did you mean '" + nearest->name + "'?")};
}

}  // namespace

Plan make_plan(const Batch& batch, const Slots& slots, std::uint32_t shards, std::size_t max_numbers) {
    if (shards == 0 || shards > kMaxShards) {
        throw InvalidInput("expected 1 to 65535 shards, got " + std::to_string(shards));
    }
    Plan plan;
    std::size_t numbers = 0;
    plan.features.reserve(batch.features.size());
    plan.shards.resize(shards);
    // A little more than its share, so that growing is rare.
    const auto share = [shards](std::size_t all) { return all / shards * 9 / 8 + 16; };
    for (PlannedRequest& request : plan.shards) {
        request.parts.reserve(std::min(batch.features.size(), share(batch.ids.size())));
        request.features.reserve(request.parts.capacity());
        request.signs.reserve(share(batch.ids.size()));
        for (auto* counts : {&request.sum_counts, &request.row_counts}) counts->reserve(share(batch.ids.size()));
        for (auto* samples : {&request.sum_samples, &request.row_samples}) samples->reserve(share(batch.positions.size()));
    }
    const ShardOf shard_of_sign(shards);
    Scratch scratch;
    for (const FeatureView& feature : batch.features) {
        const Slot* slot = slots.find(feature.name);
        if (slot == nullptr) throw no_slot(slots, feature.name);
        // The first features of all batches come before their second ones.
        if (const std::uint16_t samples = batch.features[feature.request].batch_size; feature.batch_size != samples) {
            throw FeatureError(std::string(feature.name), "expected a batch of " + std::to_string(samples) +
                                                              " samples as in the feature before it, got " +
                                                              std::to_string(feature.batch_size));
        }
        PlannedFeature planned = planned_of(batch, feature, *slot);
        const std::size_t size = tensor_shape(planned).size();
        if (size > max_numbers - numbers) {
            throw TooLarge("expected at most " + std::to_string(max_numbers) +
                           " numbers in all tensors of a batch, got more at '" + slot->name + "'");
        }
        numbers += size;
        distribute(column_of(batch, feature, *slot, slots, scratch), shard_of_sign,
                   takes_single_rows(batch, feature, *slot, scratch), static_cast<std::uint32_t>(plan.features.size()), *slot,
                   feature.batch_size, scratch, plan.shards);
        if (slot->keep_last && planned.cut_ids != 0) {
            keep_last(batch.counts_of(feature), *slot, scratch, plan.shards);
        }
        plan.features.push_back(std::move(planned));
    }
    return plan;
}

TensorShape tensor_shape(const PlannedFeature& feature) {
    const Slot& slot = feature.slot;
    if (slot.summation) return {feature.batch_size, 0, slot.dim};
    return {feature.batch_size, slot.sample_fixed_size, slot.dim + 1};
}

}  // namespace persia
