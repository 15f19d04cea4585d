// Several batches as one, so that they are looked up together.
//
// Thread safety: a plain function.
#pragma once

#include <span>

#include "batch/batch.hpp"

namespace persia {

// A batch in which each feature stands once for each of the batches: first the features of the first name, in the order of the
// batches, then those of the second name, ... So the tensors of one name lie side by side, and each feature is planned and
// counted as it is alone. Dense tensors, labels and the rest stay with the batches. Names and weights are borrowed from what
// the batches borrow from.
//
// Throws InvalidInput unless there is at least one batch, and all have ids of the same features in the same order; TooLarge
// beyond 2^32 - 1 positions.
Batch merge_batches(std::span<const Batch* const> batches);

}  // namespace persia
