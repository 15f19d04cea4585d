#include "base/error.hpp"
#include "batch/batch.hpp"

namespace persia {

namespace {

struct Kind {
    const char* name;
    std::size_t size;
};

// Indexed by the tag on the wire.
constexpr Kind kKinds[] = {{"bool", 1},  {"float16", 2}, {"float32", 4}, {"float64", 8}, {"int8", 1},   {"int16", 2},
                           {"int32", 4}, {"int64", 8},   {"uint8", 1},   {"uint16", 2},  {"uint32", 4}, {"uint64", 8}};

const Kind& kind(DType dtype) {
    const auto tag = static_cast<std::uint32_t>(dtype);
    if (tag >= std::size(kKinds)) throw InvalidInput("expected a dtype tag below 12, got " + std::to_string(tag));
    return kKinds[tag];
}

}  // namespace

std::size_t item_size(DType dtype) { return kind(dtype).size; }

const char* dtype_name(DType dtype) { return kind(dtype).name; }

}  // namespace persia
