#include "persia/weights.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "persia/error.hpp"

namespace persia {

namespace {

constexpr std::string_view kSuffix = ".weights";

bool is_named_so(const TensorView& tensor) { return tensor.name && tensor.name->ends_with(kSuffix); }

std::string show(const TensorView& tensor) {
    std::string shape;
    for (const std::uint64_t size : tensor.shape) shape += (shape.empty() ? "" : ", ") + std::to_string(size);
    return std::string(dtype_name(tensor.dtype)) + " of shape (" + shape + ")";
}

std::span<const std::uint32_t> counts_of(const Batch& batch, const FeatureView& feature) {
    return std::span(batch.ids_per_sample).subspan(feature.samples_begin, feature.batch_size);
}

// `weights` are those of sample `i`.
void check_finite(const FeatureView& feature, std::span<const float> weights, std::size_t i) {
    for (const float weight : weights) {
        if (std::isfinite(weight)) continue;
        throw FeatureError(std::string(feature.name), "expected weights that are finite, got " + std::to_string(weight) +
                                                          " in sample " + std::to_string(i));
    }
}

// By what the weights of a sample are divided.
double divisor_of(std::span<const float> weights, const Slot& slot) {
    if (!slot.mean && !slot.sqrt_scaling) return 1;
    double sum = 0;
    for (const double weight : weights) sum += slot.mean ? weight : weight * weight;
    sum *= slot.signs_per_id();
    return slot.mean ? sum : std::sqrt(sum);
}

void check_columns(const Batch& batch, const FeatureView& feature) {
    const std::span<const std::uint32_t> counts = counts_of(batch, feature);
    for (std::size_t p = batch.position_offsets[feature.ids_begin]; p < batch.position_offsets[feature.ids_end]; ++p) {
        const Position& position = batch.positions[p];
        if (position.column < counts[position.sample]) continue;
        throw FeatureError(std::string(feature.name), "expected ids with weights in columns below " +
                                                          std::to_string(counts[position.sample]) + ", how many the sample " +
                                                          std::to_string(position.sample) + " has, got column " +
                                                          std::to_string(position.column));
    }
}

}  // namespace

void take_weights(Batch& batch) {
    if (std::ranges::none_of(batch.dense, is_named_so)) return;
    std::unordered_map<std::string_view, FeatureView*> features;
    for (FeatureView& feature : batch.features) features.emplace(feature.name, &feature);
    std::vector<TensorView> kept;
    for (TensorView& tensor : batch.dense) {
        const auto found =
            is_named_so(tensor) ? features.find(tensor.name->substr(0, tensor.name->size() - kSuffix.size())) : features.end();
        if (found == features.end()) {
            kept.push_back(std::move(tensor));
            continue;
        }
        FeatureView& feature = *found->second;
        if (feature.weights) throw FeatureError(std::string(feature.name), "expected one tensor of weights, got two");
        feature.weights = batch.weights.size();
        batch.weights.push_back({std::move(tensor)});
    }
    batch.dense = std::move(kept);
}

std::vector<float> weights_of(const Batch& batch, const FeatureView& feature) {
    const WeightsView& view = batch.weights[*feature.weights];
    const TensorView& tensor = view.tensor;
    const std::span<const std::uint32_t> counts = counts_of(batch, feature);
    std::size_t most = 0, all = 0;
    for (const std::uint32_t count : counts) {
        most = std::max<std::size_t>(most, count);
        all += count;
    }
    if (view.padded && (tensor.dtype != DType::f32 || tensor.shape.size() != 2 || tensor.shape[0] != feature.batch_size ||
                        tensor.shape[1] < most)) {
        throw FeatureError(std::string(feature.name), "expected weights of float32 and shape (" +
                                                          std::to_string(feature.batch_size) + ", " + std::to_string(most) +
                                                          "), the samples and the most ids of one, got " + show(tensor));
    }
    const std::size_t columns = view.padded ? tensor.shape[1] : 0;
    std::vector<float> weights(all);
    const std::byte* from = tensor.data.data();
    std::size_t at = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        const std::size_t bytes = counts[i] * sizeof(float);
        if (bytes != 0) std::memcpy(weights.data() + at, from, bytes);
        check_finite(feature, std::span(weights).subspan(at, counts[i]), i);
        at += counts[i];
        from += view.padded ? columns * sizeof(float) : bytes;
    }
    return weights;
}

Factors factors_of(const Batch& batch, const FeatureView& feature, const Slot& slot) {
    if (!feature.weights) {
        throw FeatureError(slot.name,
                           "expected a weight for each id, as the embedding config has `weighted: true`, got none: "
                           "send them as the dense tensor '" +
                               slot.name + std::string(kSuffix) + "' (`weights` in JSON and PersiaBatch.from_dict)");
    }
    check_columns(batch, feature);
    Factors factors{weights_of(batch, feature), {0}};
    factors.begins.reserve(feature.batch_size + std::size_t{1});
    for (const std::uint32_t count : counts_of(batch, feature)) {
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
