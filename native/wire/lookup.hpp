// What embedding servers are asked, and what they answer: LookupRequest and LookupResponse of protos/persia/v1/embedding.proto.
//
// Thread safety: plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "grpc/message.hpp"
#include "table/shard_request.hpp"
#include "wire/protobuf.hpp"
#include "wire/rows_for.hpp"

namespace persia::wire {

// Which shard, of how many. A count of 0: not said.
struct ShardPlace {
    std::uint32_t index = 0, count = 0;

    bool operator==(const ShardPlace&) const = default;
};

// A message that lends the columns, and keeps their owner. epoch: the one that is asked for; 0: the newest one.
grpc::OutgoingMessage encode_lookup_request(const ShardPlace& place, const RequestView& columns,
                                            std::shared_ptr<const void> owner, std::uint64_t epoch = 0,
                                            const RowsFor& rows_for = {});

class LookupRequest {
  public:
    // message: outlives this. Throws DecodeError for bytes that are no message, and InvalidInput for columns that are not in
    // whole items.
    explicit LookupRequest(std::span<const std::byte> message);

    const ShardPlace& place() const { return place_; }
    std::uint64_t epoch() const { return epoch_; }
    const RowsFor& rows_for() const { return rows_for_; }

    // The size of the answer, as far as the parts say it; they may ask for too much.
    std::size_t answer_bytes() const;

    // How much memory view() takes: none for a message that our own clients have made.
    std::size_t bytes_to_copy() const;
    // The columns, which nobody has checked yet (check_request). They live as long as this.
    RequestView view();

  private:
    ShardPlace place_;
    std::uint64_t epoch_ = 0;
    RowsFor rows_for_;
    ColumnView<RequestPart> parts_;
    ColumnView<std::uint64_t> signs_;
    ColumnView<std::uint32_t> sum_counts_;
    ColumnView<std::uint16_t> sum_samples_;
};

// What an answer tells beside its numbers.
struct LookupFacts {
    std::uint64_t version = 0;
    Misses misses = {};
    std::uint64_t server_start = 0;
    std::uint64_t checkpoint_id = 0;
    std::uint64_t epoch = 0;                      // that it was made from; 0: of none, or it is not there
    std::uint64_t epoch_low = 0, epoch_high = 0;  // that are there
    EpochRun run = {};                            // the newest that may be read for whom the rows are
    std::uint64_t variant = 0;                    // whose rows went first
};

// A message that lends the numbers, which answer() wrote, and keeps their owner. by_part: the misses of answer(), copied.
grpc::OutgoingMessage encode_lookup_response(const LookupFacts& facts, std::span<const RunMisses> by_part,
                                             std::span<const std::byte> numbers, std::shared_ptr<const void> owner);

// The largest size of such a message with that many parts and numbers.
std::size_t most_response_bytes(std::size_t parts, std::size_t numbers);

class LookupResponse {
  public:
    LookupResponse() = default;
    // message: outlives this. Throws DecodeError.
    explicit LookupResponse(std::span<const std::byte> message);

    const LookupFacts& facts() const { return facts_; }
    // RunMisses by part, maybe empty; nobody has checked how many.
    std::span<const std::byte> misses() const { return misses_; }

    std::size_t size_bytes() const { return numbers_.size_bytes(); }
    // They live as long as the message and this.
    std::span<const float> numbers() { return numbers_.items(); }

  private:
    LookupFacts facts_;
    std::span<const std::byte> misses_;
    ColumnView<float> numbers_;
};

}  // namespace persia::wire
