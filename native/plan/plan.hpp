// Which shard is asked for what. A plan is made from a decoded batch in one pass over its ids; each shard gets one request in
// columns, which `answer` (table/shard_request.hpp) turns into one column of numbers; `assemble` (assemble.hpp) makes the dense
// model's tensors of them.
//
// Thread safety: plain values.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "batch/batch.hpp"
#include "plan/factors.hpp"
#include "plan/slots.hpp"
#include "table/shard_request.hpp"

namespace persia {

// A shard's request, and what is kept here to make use of the answer.
struct PlannedRequest {
    RequestView view() const { return {parts, signs, sum_counts, sum_samples}; }

    std::vector<RequestPart> parts;
    std::vector<std::uint32_t> features;  // the place of each part's feature in the batch
    std::vector<std::uint64_t> signs;
    std::vector<std::uint32_t> sum_counts;
    std::vector<std::uint16_t> sum_samples;

    // Where the rows of its rows and halves parts go: positions of each sign, and of each position its sample and, in a raw
    // or weighted feature, its column.
    std::vector<std::uint32_t> row_counts;
    std::vector<std::uint16_t> row_samples;
    std::vector<std::uint16_t> row_columns;
};

struct PlannedFeature {
    const Slot* slot;  // never null
    std::uint32_t batch_size = 0;
    std::vector<std::uint32_t> ids_per_sample;  // where mean or sqrt scaling needs it; hash stack rounds counted
    Factors factors;                            // of a weighted one
    std::vector<std::uint32_t> begins;          // (batch + 1), of one that is summed in order: where each sample's ids begin
    std::uint64_t cut_ids = 0;                  // of a raw one: ids beyond its columns
    std::uint32_t default_shard = kNoShard;     // whose part of the feature ends with the sign of the default row

    static constexpr std::uint32_t kNoShard = ~0U;
};

// It lives no longer than the slots that it was made with.
struct Plan {
    std::vector<PlannedFeature> features;  // in the order of the batch
    std::vector<PlannedRequest> shards;
};

// What the tensors of one batch may hold together, in f16; one of f32 counts twice. Empty samples cost the sender four bytes
// and us a whole tensor row each, so the size of a batch bounds nothing. 2^29 halves are a gigabyte.
constexpr std::size_t kMaxTensorNumbers = std::size_t{1} << 29;
constexpr std::uint32_t kMaxShards = 65'535;

// Throws FeatureError for a feature that is not configured, for one whose batch size differs from the others', for a weighted
// one without weights and for weights of any other, and as factors_of; InvalidInput
// for a shard count outside 1..kMaxShards; TooLarge if all tensors together had more than max_numbers.
Plan make_plan(const Batch& batch, const Slots& slots, std::uint32_t shards, std::size_t max_numbers = kMaxTensorNumbers);
Plan make_plan(const Batch& batch, Slots&& slots, std::uint32_t shards, std::size_t max_numbers = 0) = delete;

// (samples, numbers), or (samples, ids, numbers) for a raw feature.
struct TensorShape {
    std::size_t size() const { return std::size_t{samples} * std::max(ids, 1U) * numbers; }

    std::uint32_t samples;
    std::uint32_t ids;  // 0: not raw
    std::uint32_t numbers;
};

// Of the feature's tensor: (batch, dim), or (batch, sample_fixed_size, dim + 1) for a raw one.
TensorShape tensor_shape(const PlannedFeature& feature);

// How the tensors of a batch lie in one piece of memory: those of f32 first, so that each is aligned, then those of f16.
struct TensorRoom {
    std::size_t size = 0;               // in halves
    std::vector<std::uint32_t> shapes;  // of each tensor three: samples, ids or 0, and numbers, plus kOfFloats if it is of f32
    std::vector<std::size_t> begins;    // of each tensor, in halves

    // Where each tensor begins in such memory.
    std::vector<std::uint16_t*> tensors_in(std::uint16_t* memory) const;
};
constexpr std::uint32_t kOfFloats = std::uint32_t{1} << 31;  // no tensor has so many numbers

TensorRoom room_of(const Plan& plan);

}  // namespace persia
