#include "plan/plan.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "plan/columns.hpp"

namespace persia {

namespace {

// Where the next sign of a shard's request is written.
struct Cursor {
    std::uint64_t* sign = nullptr;
    std::uint32_t* count = nullptr;
    std::uint16_t* sample = nullptr;
    std::uint16_t* column = nullptr;  // null where columns do not matter
};

// Memory that one feature after the other uses again.
struct Scratch {
    SignScratch signs;
    std::vector<std::uint32_t> shards;  // of each sign
    std::vector<std::uint64_t> counts;  // of each shard, as kOneSign says
    std::vector<Cursor> cursors;        // of each shard
    std::vector<char> seen;             // samples
};

// Whether every number of the feature's tensor comes from one row, so that it may be made f16 by the shard. Where the ids stand
// decides, not how many each sample is said to have.
bool takes_single_rows(const Batch& batch, const FeatureView& feature, const Slot& slot, Scratch& scratch) {
    if (slot.signs_per_id() != 1 || slot.weighted || slot.f32 || slot.has_default()) return false;
    if (!slot.summation) return true;
    const std::uint32_t begin = batch.position_offsets[feature.ids_begin];
    const std::uint32_t end = batch.position_offsets[feature.ids_end];
    if (end - begin > feature.batch_size) return false;
    scratch.seen.assign(feature.batch_size, 0);
    return std::ranges::all_of(std::span(batch.positions).subspan(begin, end - begin),
                               [&](const Position& position) { return std::exchange(scratch.seen[position.sample], 1) == 0; });
}

// Where rows or sums will do, the smaller thing is moved: all rows once, or from each shard that has some a sum per sample and
// to it the positions.
AnswerKind answer_kind(const Slot& slot, const SignColumn& column, bool single_rows, std::size_t batch_size,
                       std::size_t shards_asked) {
    if (single_rows) return AnswerKind::halves;
    if (slot.has_default()) return AnswerKind::marked;
    if (!slot.summation || slot.weighted || slot.is_summed_in_order()) return AnswerKind::rows;
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
void distribute(const SignColumn& column, const ShardOf& shard_of_sign, bool single_rows, std::uint32_t feature,
                const Slot& slot, std::uint32_t batch_size, Scratch& scratch, std::vector<PlannedRequest>& requests) {
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
    const AnswerKind kind = answer_kind(slot, column, single_rows, batch_size, asked);
    scratch.cursors.assign(shards, {});
    for (std::uint32_t s = 0; s < shards; ++s) {
        const auto signs = static_cast<std::uint32_t>(scratch.counts[s] / kOneSign);
        const auto positions = static_cast<std::uint32_t>(scratch.counts[s] % kOneSign);
        if (signs == 0) continue;
        requests[s].parts.push_back({slot.feature, kind, slot.dim, batch_size, signs, positions});
        requests[s].features.push_back(feature);
        scratch.cursors[s] = make_room(requests[s], kind, slot.has_columns(), signs, positions);
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

// Of a slot that keeps all ids. Throws FeatureError, which names the first sample with more ids than there is room for.
void check_room(std::span<const std::uint32_t> ids_per_sample, const Slot& slot) {
    for (std::size_t sample = 0; sample < ids_per_sample.size(); ++sample) {
        if (ids_per_sample[sample] <= slot.sample_fixed_size) continue;
        throw FeatureError(slot.name, "sample " + std::to_string(sample) + " has " + std::to_string(ids_per_sample[sample]) +
                                          " ids, and the slot has room for " + std::to_string(slot.sample_fixed_size) +
                                          " (`sample_fixed_size`) and keeps all (`keep: all`): send fewer, those that "
                                          "training would take");
    }
}

// What the answers are made use of with.
PlannedFeature planned_of(const Batch& batch, const FeatureView& feature, const Slot& slot) {
    PlannedFeature planned{&slot, feature.batch_size, {}, {}, {}};
    const std::span<const std::uint32_t> ids_per_sample = batch.counts_of(feature);
    if (slot.weighted) {
        planned.factors = factors_of(batch, feature, slot);
    } else if (feature.weights) {
        throw FeatureError(slot.name, "expected no weights, as the embedding config does not have `weighted: true`, got some");
    } else if (slot.summation && (slot.sqrt_scaling || slot.mean)) {
        for (const std::uint32_t ids : ids_per_sample) planned.ids_per_sample.push_back(ids * slot.signs_per_id());
    } else if (!slot.summation) {
        if (slot.keep_all) check_room(ids_per_sample, slot);
        for (const std::uint32_t ids : ids_per_sample) {
            planned.cut_ids += ids > slot.sample_fixed_size ? ids - slot.sample_fixed_size : 0;
        }
    }
    if (slot.is_summed_in_order()) planned.begins = places_of(batch, feature);
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
        const std::size_t size = tensor_shape(planned).size() * (slot->f32 ? 2 : 1);  // in halves
        if (size > max_numbers - numbers) {
            throw TooLarge("expected at most " + std::to_string(max_numbers) +
                           " numbers in all tensors of a batch, got more at '" + slot->name + "'");
        }
        numbers += size;
        distribute(column_of(batch, feature, *slot, slots, scratch.signs), shard_of_sign,
                   takes_single_rows(batch, feature, *slot, scratch), static_cast<std::uint32_t>(plan.features.size()), *slot,
                   feature.batch_size, scratch, plan.shards);
        if (slot->default_id && !scratch.shards.empty()) planned.default_shard = scratch.shards.back();
        if (slot->keep_last && planned.cut_ids != 0) {
            keep_last(batch.counts_of(feature), *slot, scratch, plan.shards);
        }
        plan.features.push_back(std::move(planned));
    }
    return plan;
}

TensorShape tensor_shape(const PlannedFeature& feature) {
    const Slot& slot = *feature.slot;
    if (slot.summation) return {feature.batch_size, 0, slot.dim};
    return {feature.batch_size, slot.sample_fixed_size, slot.dim + 1};
}

}  // namespace persia
