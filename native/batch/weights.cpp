#include "batch/weights.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/error.hpp"

namespace persia {

namespace {

bool is_named_so(const TensorView& tensor) { return tensor.name && tensor.name->ends_with(kWeightsSuffix); }

std::string show(const TensorView& tensor) {
    std::string shape;
    for (const std::uint64_t size : tensor.shape) shape += (shape.empty() ? "" : ", ") + std::to_string(size);
    return std::string(dtype_name(tensor.dtype)) + " of shape (" + shape + ")";
}

// `weights` are those of sample `i`.
void check_finite(const FeatureView& feature, std::span<const float> weights, std::size_t i) {
    for (const float weight : weights) {
        if (std::isfinite(weight)) continue;
        throw FeatureError(std::string(feature.name), "expected weights that are finite, got " + std::to_string(weight) +
                                                          " in sample " + std::to_string(i));
    }
}

}  // namespace

void take_weights(Batch& batch) {
    if (std::ranges::none_of(batch.dense, is_named_so)) return;
    std::unordered_map<std::string_view, FeatureView*> features;
    for (FeatureView& feature : batch.features) features.emplace(feature.name, &feature);
    std::vector<TensorView> kept;
    for (TensorView& tensor : batch.dense) {
        const auto found = is_named_so(tensor)
                               ? features.find(tensor.name->substr(0, tensor.name->size() - kWeightsSuffix.size()))
                               : features.end();
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
    const std::span<const std::uint32_t> counts = batch.counts_of(feature);
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

}  // namespace persia
