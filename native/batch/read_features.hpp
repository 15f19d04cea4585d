#pragma once

#include <string>
#include <string_view>
#include <unordered_set>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/utf8.hpp"
#include "batch/batch.hpp"

namespace persia {

// What a byte batch and an id part have in common.

inline std::string_view read_name(Reader& in, const char* what) {
    const std::size_t count = in.length(1, what);
    const std::size_t start = in.position();
    const auto bytes = in.take(count, what);
    const std::string_view name(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!is_utf8(name)) throw DecodeError(std::string("UTF-8 in ") + what, "other bytes", start);
    return name;
}

// Appends features, each as `read_feature(in, batch)` gives it. `least`: the bytes that the smallest one takes.
template <class ReadFeature>
void read_features(Reader& in, Batch& batch, std::size_t least, ReadFeature read_feature) {
    const std::size_t count = in.length(least, "features");
    batch.features.reserve(count);
    std::unordered_set<std::string_view> names;
    names.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t at = in.position();
        batch.features.push_back(read_feature(in, batch));
        if (!names.insert(batch.features.back().name).second) {
            throw DecodeError("each feature once", "'" + std::string(batch.features.back().name) + "' again", at);
        }
    }
}

}  // namespace persia
