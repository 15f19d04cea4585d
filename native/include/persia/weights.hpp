// Weights of ids. In a byte batch those of the feature NAME are a dense tensor NAME.weights, so that Persia's own readers
// take the batch, too; in an id part they stand by their feature.
//
// Thread safety: free functions; no shared state.
#pragma once

#include <cstdint>
#include <vector>

#include "persia/batch.hpp"
#include "persia/slots.hpp"

namespace persia {

// Moves weights out of batch.dense to batch.weights, and tells their features of them. Throws FeatureError for a feature with
// two.
void take_weights(Batch& batch);

// The weights of all ids of one sample after the other, each sample's by their columns; as many as the feature has positions.
// REQUIRES: feature.weights. Throws FeatureError unless there is a finite f32 for each id.
std::vector<float> weights_of(const Batch& batch, const FeatureView& feature);

// What the row of each id is multiplied with, in the same order, so that the sum of a sample is what the slot's pooling says.
// begins[i] is where sample i begins. Throws as weights_of, and FeatureError where there are no weights, and for an id whose
// column is not a place in its sample.
struct Factors {
    std::vector<float> values;
    std::vector<std::uint32_t> begins;  // (batch + 1)
};
Factors factors_of(const Batch& batch, const FeatureView& feature, const Slot& slot);

}  // namespace persia
