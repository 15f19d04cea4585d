#include "batch/merge_batches.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

#include "base/error.hpp"

namespace persia {

namespace {

void check_alike(const Batch& first, const Batch& other) {
    if (!other.has_ids) throw InvalidInput("the batch has no id features");
    if (!std::ranges::equal(first.features, other.features, {}, &FeatureView::name, &FeatureView::name)) {
        throw InvalidInput("expected batches of the same features in the same order, got two that differ");
    }
}

void reserve(std::span<const Batch* const> batches, Batch& merged) {
    std::size_t features = 0, ids = 0, positions = 0, samples = 0;
    for (const Batch* batch : batches) {
        features += batch->features.size();
        ids += batch->ids.size();
        positions += batch->positions.size();
        samples += batch->ids_per_sample.size();
    }
    if (positions > std::numeric_limits<std::uint32_t>::max()) {
        throw TooLarge("expected at most 4294967295 positions in batches that are looked up together, got " +
                       std::to_string(positions));
    }
    merged.features.reserve(features);
    merged.ids.reserve(ids);
    merged.position_offsets.reserve(ids + 1);
    merged.positions.reserve(positions);
    merged.ids_per_sample.reserve(samples);
}

// `request`: the place of the batch among those that are merged.
void append(const Batch& batch, const FeatureView& feature, std::uint32_t request, Batch& merged) {
    FeatureView view = feature;
    view.request = request;
    view.ids_begin = merged.ids.size();
    view.samples_begin = merged.ids_per_sample.size();
    const std::uint32_t* offsets = batch.position_offsets.data();
    const std::uint32_t first = offsets[feature.ids_begin];
    const auto moved_to = static_cast<std::uint32_t>(merged.positions.size());
    for (std::size_t i = feature.ids_begin; i < feature.ids_end; ++i) {
        merged.position_offsets.push_back(offsets[i + 1] - first + moved_to);
    }
    merged.ids.insert(merged.ids.end(), batch.ids.begin() + static_cast<std::ptrdiff_t>(feature.ids_begin),
                      batch.ids.begin() + static_cast<std::ptrdiff_t>(feature.ids_end));
    merged.positions.insert(merged.positions.end(), batch.positions.begin() + first,
                            batch.positions.begin() + offsets[feature.ids_end]);
    const std::span<const std::uint32_t> counts = batch.counts_of(feature);
    merged.ids_per_sample.insert(merged.ids_per_sample.end(), counts.begin(), counts.end());
    view.ids_end = merged.ids.size();
    if (feature.weights) {
        view.weights = merged.weights.size();
        merged.weights.push_back(batch.weights[*feature.weights]);
    }
    merged.features.push_back(view);
}

}  // namespace

Batch merge_batches(std::span<const Batch* const> batches) {
    if (batches.empty()) throw InvalidInput("expected batches to look up together, got none");
    const Batch& first = *batches.front();
    for (const Batch* batch : batches) check_alike(first, *batch);
    Batch merged;
    merged.has_ids = true;
    merged.requests = static_cast<std::uint32_t>(batches.size());
    merged.position_offsets.push_back(0);
    reserve(batches, merged);
    for (std::size_t i = 0; i < first.features.size(); ++i) {
        for (std::uint32_t request = 0; request < merged.requests; ++request) {
            append(*batches[request], batches[request]->features[i], request, merged);
        }
    }
    return merged;
}

}  // namespace persia
