// Tables and layers for tests: the row of a sign is `dim` times value(sign, factor).
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "table/shard_request.hpp"
#include "table/table.hpp"

namespace persia {

inline float value(std::uint64_t sign, float factor) { return static_cast<float>(sign % 251 + 1) * factor; }

inline std::vector<std::uint64_t> range(std::uint64_t begin, std::uint64_t end) {
    std::vector<std::uint64_t> signs;
    for (; begin < end; ++begin) signs.push_back(begin);
    return signs;
}

// put(block) for the signs of begin..end.
template <class Put>
void put_range(std::uint64_t begin, std::uint64_t end, std::uint32_t dim, float factor, Put put) {
    const std::vector<std::uint64_t> signs = range(begin, end);
    std::vector<float> numbers;
    for (const std::uint64_t sign : signs) numbers.insert(numbers.end(), dim, value(sign, factor));
    RowBlock block;
    for (std::size_t i = 0; i < signs.size(); ++i) {
        block.signs.push_back(signs[i]);
        block.dims.push_back(dim);
        block.values.push_back(reinterpret_cast<const std::byte*>(numbers.data() + i * dim));
    }
    put(block);
}

inline std::unique_ptr<TableBuilder> filled(TableOptions options, std::uint64_t begin, std::uint64_t end, std::uint32_t dim,
                                            float factor, Shard shard = {}) {
    auto builder = std::make_unique<TableBuilder>(options);
    put_range(begin, end, dim, factor, [&](const RowBlock& block) { builder->put(block, shard); });
    return builder;
}

inline Layer layer_of(std::uint64_t begin, std::uint64_t end, std::uint32_t dim, float factor) {
    Layer layer(RowStorage::f32);
    put_range(begin, end, dim, factor, [&](const RowBlock& block) { layer.rows.put(block, {}, 3); });
    return layer;
}

inline std::pair<std::vector<float>, Misses> rows_of(const Snapshot& snapshot, const std::vector<std::uint64_t>& signs,
                                                     std::uint32_t dim) {
    std::vector<float> rows(signs.size() * dim);
    const Misses misses = snapshot.rows(signs, dim, rows.data());
    return {rows, misses};
}

// An answer of whose misses only the sums matter.
inline Misses answer(const Snapshot& snapshot, const RequestView& request, float* out) {
    std::vector<RunMisses> by_part;
    return answer(snapshot, request, out, by_part);
}

// Of one feature, as a shard answers it.
inline Misses add_up(const Snapshot& snapshot, const std::vector<std::uint64_t>& signs,
                     const std::vector<std::uint32_t>& counts, const std::vector<std::uint16_t>& samples, std::uint32_t dim,
                     std::uint32_t batch_size, float* sums) {
    const RequestPart part{.kind = AnswerKind::sums,
                           .dim = dim,
                           .samples = batch_size,
                           .signs = static_cast<std::uint32_t>(signs.size()),
                           .positions = static_cast<std::uint32_t>(samples.size())};
    const RequestView request{{&part, 1}, signs, counts, samples};
    check_request(request, std::size_t{batch_size} * dim);
    return answer(snapshot, request, sums);
}

}  // namespace persia
