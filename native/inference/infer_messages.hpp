// ModelInferRequest and ModelInferResponse of the Open Inference Protocol, as a worker reads and writes them. Tensors that are
// sent raw stay where they came.
//
// Thread safety: plain values.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "grpc/message.hpp"

namespace persia::inference {

using Bytes = std::span<const std::byte>;

using InferParameter = std::variant<bool, std::int64_t, std::string_view, double, std::uint64_t>;
using InferParameters = std::vector<std::pair<std::string_view, InferParameter>>;

// The fields of InferTensorContents, each for elements of one kind.
enum class Contents : std::uint32_t {
    none = 0,
    bools = 1,
    ints = 2,
    int64s = 3,
    uints = 4,
    uint64s = 5,
    fp32s = 6,
    fp64s = 7,
    texts = 8,
};

struct ReadInput {
    std::string_view name, datatype;
    std::vector<std::int64_t> shape;
    InferParameters parameters;
    Contents contents = Contents::none;
    std::string elements;      // of numbers: one after the other, little-endian, as wide as their kind is
    std::vector<Bytes> texts;  // of texts
};

struct ReadOutput {
    std::string_view name;
    InferParameters parameters;
};

struct InferRequest {
    std::string_view model, version, id;
    InferParameters parameters;
    std::vector<ReadInput> inputs;
    std::vector<ReadOutput> outputs;
    std::vector<Bytes> raw;  // of the inputs, in their order
};

// What is returned lies in the message. Throws DecodeError for bytes that are none, InvalidInput for contents of two kinds.
InferRequest read_infer_request(Bytes message);

struct WrittenOutput {
    std::string_view name, datatype;
    std::vector<std::int64_t> shape;
    Contents contents = Contents::none;  // none: it is sent raw
    Bytes elements;                      // as in ReadInput
    std::vector<Bytes> texts;
};

struct InferResponse {
    std::string_view model, version, id;
    std::vector<WrittenOutput> outputs;
    std::vector<Bytes> raw;  // of the outputs, in their order
};

// Large tensors are lent: the message lives no longer than they.
grpc::OutgoingMessage write_infer_response(const InferResponse& response);

}  // namespace persia::inference
