#include "plan/factors.hpp"

#include <cmath>
#include <string>

#include "base/error.hpp"
#include "batch/weights.hpp"

namespace persia {

namespace {

// By what the weights of a sample are divided.
double divisor_of(std::span<const float> weights, const Slot& slot) {
    if (!slot.mean && !slot.sqrt_scaling) return 1;
    double sum = 0;
    for (const double weight : weights) sum += slot.mean ? weight : weight * weight;
    sum *= slot.signs_per_id();
    return slot.mean ? sum : std::sqrt(sum);
}

void check_columns(const Batch& batch, const FeatureView& feature) {
    const std::span<const std::uint32_t> counts = batch.counts_of(feature);
    for (std::size_t p = batch.position_offsets[feature.ids_begin]; p < batch.position_offsets[feature.ids_end]; ++p) {
        const Position& position = batch.positions[p];
        if (position.column < counts[position.sample]) continue;
        throw FeatureError(std::string(feature.name), "expected ids in columns below " +
                                                          std::to_string(counts[position.sample]) + ", how many the sample " +
                                                          std::to_string(position.sample) + " has, got column " +
                                                          std::to_string(position.column));
    }
}

}  // namespace

std::vector<std::uint32_t> places_of(const Batch& batch, const FeatureView& feature) {
    check_columns(batch, feature);
    std::vector<std::uint32_t> begins{0};
    begins.reserve(feature.batch_size + std::size_t{1});
    for (const std::uint32_t count : batch.counts_of(feature)) begins.push_back(begins.back() + count);
    return begins;
}

Factors factors_of(const Batch& batch, const FeatureView& feature, const Slot& slot) {
    if (!feature.weights) {
        throw FeatureError(slot.name,
                           "expected a weight for each id, as the embedding config has `weighted: true`, got none: "
                           "send them as the dense tensor '" +
                               slot.name + std::string(kWeightsSuffix) + "' (`weights` in JSON and PersiaBatch.from_dict)");
    }
    check_columns(batch, feature);
    Factors factors{weights_of(batch, feature), {0}};
    factors.begins.reserve(feature.batch_size + std::size_t{1});
    for (const std::uint32_t count : batch.counts_of(feature)) {
        const std::size_t begin = factors.begins.back();
        const std::span<float> weights = std::span(factors.values).subspan(begin, count);
        // Divided here rather than after the sum: so the weights of a mean are below 1, however large they came.
        const double divisor = divisor_of(weights, slot);
        for (float& weight : weights) weight = divisor == 0 ? 0.0F : static_cast<float>(weight / divisor);
        factors.begins.push_back(static_cast<std::uint32_t>(begin + count));
    }
    return factors;
}

}  // namespace persia
