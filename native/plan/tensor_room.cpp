#include <algorithm>

#include "plan/plan.hpp"

namespace persia {

std::vector<std::uint16_t*> TensorRoom::tensors_in(std::uint16_t* memory) const {
    std::vector<std::uint16_t*> tensors(begins.size());
    std::ranges::transform(begins, tensors.begin(), [memory](std::size_t begin) { return memory + begin; });
    return tensors;
}

TensorRoom room_of(const Plan& plan) {
    TensorRoom room;
    room.shapes.reserve(3 * plan.features.size());
    room.begins.reserve(plan.features.size());
    std::size_t floats = 0;
    for (const PlannedFeature& feature : plan.features) floats += feature.slot->f32 ? tensor_shape(feature).size() : 0;
    std::size_t next_floats = 0, next_halves = 2 * floats;
    for (const PlannedFeature& feature : plan.features) {
        const TensorShape shape = tensor_shape(feature);
        const bool f32 = feature.slot->f32;
        std::size_t& next = f32 ? next_floats : next_halves;
        room.shapes.insert(room.shapes.end(), {shape.samples, shape.ids, shape.numbers | (f32 ? kOfFloats : 0)});
        room.begins.push_back(next);
        next += shape.size() * (f32 ? 2 : 1);
    }
    room.size = next_halves;
    return room;
}

}  // namespace persia
