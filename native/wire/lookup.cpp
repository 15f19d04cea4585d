#include "wire/lookup.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.hpp"

namespace persia::wire {

namespace {

namespace request {
enum Field : std::uint32_t {
    parts = 2,
    signs = 3,
    sum_counts = 4,
    sum_samples = 5,
    shard_index = 6,
    shard_count = 7,
    epoch = 8,
    dense_model = 9,
    dense_version = 10,
    variant = 11
};
}

namespace response {
enum Field : std::uint32_t {
    numbers = 2,
    version = 3,
    absent = 4,
    wrong_dim = 5,
    server_start = 7,
    misses = 8,
    checkpoint_id = 9,
    epoch = 10,
    epoch_low = 11,
    epoch_high = 12,
    run_first = 13,
    run_last = 14,
    variant = 16
};
}

template <class T>
void expect_whole(const char* name, const ColumnView<T>& column) {
    if (column.is_whole()) return;
    throw InvalidInput(std::string("expected ") + name + " in items of " + std::to_string(sizeof(T)) + " bytes, got " +
                       std::to_string(column.size_bytes()) + " bytes");
}

}  // namespace

grpc::OutgoingMessage encode_lookup_request(const ShardPlace& place, const RequestView& columns,
                                            std::shared_ptr<const void> owner, std::uint64_t epoch, const RowsFor& rows_for) {
    MessageWriter message(std::move(owner));
    message.varint(request::epoch, epoch);
    message.fixed64(request::dense_model, rows_for.model);
    message.fixed64(request::dense_version, rows_for.version);
    message.fixed64(request::variant, rows_for.variant);
    message.varint(request::shard_index, place.index);
    message.varint(request::shard_count, place.count);
    message.column(request::signs, columns.signs);
    message.column(request::parts, columns.parts);
    message.column(request::sum_counts, columns.sum_counts);
    message.column(request::sum_samples, columns.sum_samples);
    return message.take();
}

LookupRequest::LookupRequest(std::span<const std::byte> message) {
    FieldReader fields(message);
    while (fields.next()) {
        switch (fields.tag()) {
            case tag_of(request::shard_index, WireType::varint):
                place_.index = static_cast<std::uint32_t>(fields.varint());
                break;
            case tag_of(request::shard_count, WireType::varint):
                place_.count = static_cast<std::uint32_t>(fields.varint());
                break;
            case tag_of(request::epoch, WireType::varint):
                epoch_ = fields.varint();
                break;
            case tag_of(request::dense_model, WireType::fixed64):
                rows_for_.model = fields.fixed64();
                break;
            case tag_of(request::dense_version, WireType::fixed64):
                rows_for_.version = fields.fixed64();
                break;
            case tag_of(request::variant, WireType::fixed64):
                rows_for_.variant = fields.fixed64();
                break;
            case tag_of(request::parts, WireType::bytes):
                parts_ = ColumnView<RequestPart>(fields.bytes());
                break;
            case tag_of(request::signs, WireType::bytes):
                signs_ = ColumnView<std::uint64_t>(fields.bytes());
                break;
            case tag_of(request::sum_counts, WireType::bytes):
                sum_counts_ = ColumnView<std::uint32_t>(fields.bytes());
                break;
            case tag_of(request::sum_samples, WireType::bytes):
                sum_samples_ = ColumnView<std::uint16_t>(fields.bytes());
                break;
        }
    }
    expect_whole("parts", parts_);
    expect_whole("signs", signs_);
    expect_whole("sum_counts", sum_counts_);
    expect_whole("sum_samples", sum_samples_);
}

std::size_t LookupRequest::answer_bytes() const {
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
        bytes += std::min(sizeof(float) * parts_[i].answer_size(), grpc::kMaxMessageBytes);  // so that the sum is one
    }
    return bytes;
}

std::size_t LookupRequest::bytes_to_copy() const {
    return parts_.bytes_to_copy() + signs_.bytes_to_copy() + sum_counts_.bytes_to_copy() + sum_samples_.bytes_to_copy();
}

RequestView LookupRequest::view() { return {parts_.items(), signs_.items(), sum_counts_.items(), sum_samples_.items()}; }

grpc::OutgoingMessage encode_lookup_response(const LookupFacts& facts, std::span<const RunMisses> by_part,
                                             std::span<const std::byte> numbers, std::shared_ptr<const void> owner) {
    MessageWriter message(std::move(owner));
    message.varint(response::version, facts.version);
    message.varint(response::absent, facts.misses.absent);
    message.varint(response::wrong_dim, facts.misses.wrong_dim);
    message.varint(response::epoch, facts.epoch);
    message.varint(response::epoch_low, facts.epoch_low);
    message.varint(response::epoch_high, facts.epoch_high);
    message.varint(response::run_first, facts.run.first);
    message.varint(response::run_last, facts.run.last);
    message.fixed64(response::variant, facts.variant);
    message.fixed64(response::server_start, facts.server_start);
    message.fixed64(response::checkpoint_id, facts.checkpoint_id);
    message.bytes(response::misses, std::as_bytes(by_part));
    message.lend(response::numbers, numbers, alignof(float));
    return message.take();
}

std::size_t most_response_bytes(std::size_t parts, std::size_t numbers) {
    constexpr std::size_t kFacts = 160;  // and the heads of the columns
    return kFacts + parts * sizeof(RunMisses) + numbers * sizeof(float);
}

LookupResponse::LookupResponse(std::span<const std::byte> message) {
    FieldReader fields(message);
    while (fields.next()) {
        switch (fields.tag()) {
            case tag_of(response::version, WireType::varint):
                facts_.version = fields.varint();
                break;
            case tag_of(response::absent, WireType::varint):
                facts_.misses.absent = fields.varint();
                break;
            case tag_of(response::wrong_dim, WireType::varint):
                facts_.misses.wrong_dim = fields.varint();
                break;
            case tag_of(response::server_start, WireType::fixed64):
                facts_.server_start = fields.fixed64();
                break;
            case tag_of(response::checkpoint_id, WireType::fixed64):
                facts_.checkpoint_id = fields.fixed64();
                break;
            case tag_of(response::epoch, WireType::varint):
                facts_.epoch = fields.varint();
                break;
            case tag_of(response::epoch_low, WireType::varint):
                facts_.epoch_low = fields.varint();
                break;
            case tag_of(response::epoch_high, WireType::varint):
                facts_.epoch_high = fields.varint();
                break;
            case tag_of(response::run_first, WireType::varint):
                facts_.run.first = fields.varint();
                break;
            case tag_of(response::run_last, WireType::varint):
                facts_.run.last = fields.varint();
                break;
            case tag_of(response::variant, WireType::fixed64):
                facts_.variant = fields.fixed64();
                break;
            case tag_of(response::misses, WireType::bytes):
                misses_ = fields.bytes();
                break;
            case tag_of(response::numbers, WireType::bytes):
                numbers_ = ColumnView<float>(fields.bytes());
                break;
        }
    }
}

}  // namespace persia::wire
