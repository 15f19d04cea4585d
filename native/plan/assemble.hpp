// The dense model's tensors, made of what the shards answered.
//
// Thread safety: a plain function.
#pragma once

#include <cstdint>
#include <span>

#include "plan/plan.hpp"

namespace persia {

// answers: one column per shard, of its request's answer_size(); an empty one stands for a shard that is missing, whose rows
// count as zeros. outs: per feature a tensor in tensor_shape(), overwritten: of f16, or of f32 in the room of twice as many
// halves. Throws InvalidInput for a wrong size.
void assemble(const Plan& plan, std::span<const std::span<const float>> answers, std::span<std::uint16_t* const> outs);

}  // namespace persia
