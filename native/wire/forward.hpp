// What a middleware is asked, and what it answers: ForwardRequest and ForwardResponse of protos/persia/v1/middleware.proto.
//
// Thread safety: plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "grpc/message.hpp"
#include "table/snapshot.hpp"
#include "wire/protobuf.hpp"
#include "wire/rows_for.hpp"

namespace persia::wire {

constexpr std::size_t kShapeNumbers = 3;  // of each tensor: samples, ids or 0, numbers
constexpr std::size_t kCountNumbers = 4;  // of each feature: ids, those without a row, of another dim, cut off

struct ForwardRequest {
    std::span<const std::byte> batch = {};  // as clients make it; or
    std::span<const std::byte> ids = {};    // its ids alone
    std::uint32_t timeout_ms = 0;           // 0: not said
    std::uint64_t min_epoch = 0;            // 0: any
    RowsFor rows_for = {};                  // 0: not said, each
    bool takes_floats = false;              // knows answers with tensors of f32; older clients do not say it
};

// Lends the ids. owner: of them.
grpc::OutgoingMessage encode_forward_request(const ForwardRequest& request, std::shared_ptr<const void> owner);

// Views of the message. Throws DecodeError.
ForwardRequest decode_forward_request(std::span<const std::byte> message);

// What is said of an answer beside its tensors.
struct ForwardFacts {
    std::vector<std::uint64_t> versions;
    Misses misses;
    std::vector<std::uint64_t> missing_shards;
    std::uint64_t embedding_config_id = 0;
    std::uint64_t checkpoint_id = 0;
    std::uint64_t epoch = 0;    // of all of it; 0: of none
    std::uint64_t variant = 0;  // whose rows went first
};

// Lends the tensors and the shapes. owner: of them. counts: copied.
grpc::OutgoingMessage encode_forward_response(const ForwardFacts& facts, std::span<const std::uint32_t> counts,
                                              std::span<const std::uint16_t> tensors, std::span<const std::uint32_t> shapes,
                                              std::shared_ptr<const void> owner);

class ForwardResponse {
  public:
    ForwardResponse() = default;
    // message: outlives this. Throws DecodeError.
    explicit ForwardResponse(std::span<const std::byte> message);

    // Why the columns do not fit each other; empty: they do.
    std::string problem();

    const ForwardFacts& facts() const { return facts_; }
    // They live as long as the message and this.
    std::span<const std::uint16_t> tensors() { return tensors_.items(); }
    std::span<const std::uint32_t> shapes() { return shapes_.items(); }
    std::span<const std::uint32_t> counts() { return counts_.items(); }  // empty: the middleware did not say them

  private:
    ForwardFacts facts_;
    ColumnView<std::uint16_t> tensors_;
    ColumnView<std::uint32_t> shapes_, counts_;
};

}  // namespace persia::wire
