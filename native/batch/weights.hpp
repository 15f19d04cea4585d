// Weights of ids. In a byte batch those of the feature NAME are a dense tensor NAME.weights, so that Persia's own readers
// take the batch, too; in an id part they stand by their feature.
//
// Thread safety: free functions; no shared state.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "batch/batch.hpp"

namespace persia {

// What the name of a tensor of weights has behind the name of its feature.
inline constexpr std::string_view kWeightsSuffix = ".weights";

// Moves weights out of batch.dense to batch.weights, and tells their features of them. Throws FeatureError for a feature with
// two.
void take_weights(Batch& batch);

// The weights of all ids of one sample after the other, each sample's by their columns; as many as the feature has positions.
// REQUIRES: feature.weights. Throws FeatureError unless there is a finite f32 for each id.
std::vector<float> weights_of(const Batch& batch, const FeatureView& feature);

}  // namespace persia
