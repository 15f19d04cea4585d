// Batches for tests, made of the ids of each sample.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "batch/batch.hpp"
#include "batch/encode_batch.hpp"

namespace persia {

using Samples = std::vector<std::vector<std::uint64_t>>;

inline std::vector<std::byte> encoded(const std::vector<std::pair<std::string, Samples>>& features) {
    BatchEncoder encoder;
    for (const auto& [name, samples] : features) {
        const std::vector<std::span<const std::uint64_t>> lists(samples.begin(), samples.end());
        encoder.add_id_lists(name, lists);
    }
    std::vector<std::byte> bytes(encoder.size());
    encoder.write_to(bytes.data());
    return bytes;
}

}  // namespace persia
