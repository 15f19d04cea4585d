// What the rows of a weighted feature are multiplied with before they are added up.
//
// Thread safety: a plain function.
#pragma once

#include <cstdint>
#include <vector>

#include "batch/batch.hpp"
#include "plan/slots.hpp"

namespace persia {

// Of all samples, where the ids of each begin (batch + 1), if they are put one after the other by their columns. Throws
// FeatureError for an id whose column is not a place in its sample.
std::vector<std::uint32_t> places_of(const Batch& batch, const FeatureView& feature);

// What the row of each id is multiplied with, in the same order, so that the sum of a sample is what the slot's pooling says.
// begins[i] is where sample i begins. Throws as weights_of, and FeatureError where there are no weights, and for an id whose
// column is not a place in its sample.
struct Factors {
    std::vector<float> values;
    std::vector<std::uint32_t> begins;  // (batch + 1)
};
Factors factors_of(const Batch& batch, const FeatureView& feature, const Slot& slot);

}  // namespace persia
