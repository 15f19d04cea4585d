#include "wire/forward.hpp"

#include <algorithm>
#include <utility>

#include "plan/plan.hpp"

namespace persia::wire {

namespace {

namespace request {
enum Field : std::uint32_t {
    batch = 1,
    ids = 2,
    timeout_ms = 3,
    min_epoch = 4,
    dense_model = 5,
    dense_version = 6,
    variant = 7,
    takes_floats = 8
};
}

namespace response {
enum Field : std::uint32_t {
    tensors = 1,
    shapes = 2,
    versions = 3,
    absent = 4,
    wrong_dim = 5,
    missing_shards = 6,
    features = 8,
    embedding_config_id = 9,
    checkpoint_id = 10,
    epoch = 11,
    variant = 12
};
}

}  // namespace

grpc::OutgoingMessage encode_forward_request(const ForwardRequest& values, std::shared_ptr<const void> owner) {
    MessageWriter message(std::move(owner));
    message.varint(request::timeout_ms, values.timeout_ms);
    message.varint(request::min_epoch, values.min_epoch);
    message.fixed64(request::dense_model, values.rows_for.model);
    message.fixed64(request::dense_version, values.rows_for.version);
    message.fixed64(request::variant, values.rows_for.variant);
    message.varint(request::takes_floats, values.takes_floats ? 1 : 0);
    message.lend(request::batch, values.batch, 1);
    message.lend(request::ids, values.ids, 1);
    return message.take();
}

ForwardRequest decode_forward_request(std::span<const std::byte> message) {
    ForwardRequest values;
    FieldReader fields(message);
    while (fields.next()) {
        switch (fields.tag()) {
            case tag_of(request::batch, WireType::bytes):
                values.batch = fields.bytes();
                break;
            case tag_of(request::ids, WireType::bytes):
                values.ids = fields.bytes();
                break;
            case tag_of(request::timeout_ms, WireType::varint):
                values.timeout_ms = static_cast<std::uint32_t>(fields.varint());
                break;
            case tag_of(request::min_epoch, WireType::varint):
                values.min_epoch = fields.varint();
                break;
            case tag_of(request::dense_model, WireType::fixed64):
                values.rows_for.model = fields.fixed64();
                break;
            case tag_of(request::dense_version, WireType::fixed64):
                values.rows_for.version = fields.fixed64();
                break;
            case tag_of(request::variant, WireType::fixed64):
                values.rows_for.variant = fields.fixed64();
                break;
            case tag_of(request::takes_floats, WireType::varint):
                values.takes_floats = fields.varint() != 0;
                break;
        }
    }
    return values;
}

grpc::OutgoingMessage encode_forward_response(const ForwardFacts& facts, std::span<const std::uint32_t> counts,
                                              std::span<const std::uint16_t> tensors, std::span<const std::uint32_t> shapes,
                                              std::shared_ptr<const void> owner) {
    MessageWriter message(std::move(owner));
    message.packed(response::versions, facts.versions);
    message.varint(response::absent, facts.misses.absent);
    message.varint(response::wrong_dim, facts.misses.wrong_dim);
    message.packed(response::missing_shards, facts.missing_shards);
    message.fixed64(response::embedding_config_id, facts.embedding_config_id);
    message.fixed64(response::checkpoint_id, facts.checkpoint_id);
    message.varint(response::epoch, facts.epoch);
    message.fixed64(response::variant, facts.variant);
    message.column(response::shapes, shapes);
    message.copied_column(response::features, counts);
    message.lend(response::tensors, std::as_bytes(tensors), alignof(float));
    return message.take();
}

ForwardResponse::ForwardResponse(std::span<const std::byte> message) {
    FieldReader fields(message);
    while (fields.next()) {
        if (fields.repeated(response::versions, kMaxShards, facts_.versions) ||
            fields.repeated(response::missing_shards, kMaxShards, facts_.missing_shards)) {
            continue;
        }
        switch (fields.tag()) {
            case tag_of(response::tensors, WireType::bytes):
                tensors_ = ColumnView<std::uint16_t>(fields.bytes());
                break;
            case tag_of(response::shapes, WireType::bytes):
                shapes_ = ColumnView<std::uint32_t>(fields.bytes());
                break;
            case tag_of(response::features, WireType::bytes):
                counts_ = ColumnView<std::uint32_t>(fields.bytes());
                break;
            case tag_of(response::absent, WireType::varint):
                facts_.misses.absent = fields.varint();
                break;
            case tag_of(response::wrong_dim, WireType::varint):
                facts_.misses.wrong_dim = fields.varint();
                break;
            case tag_of(response::embedding_config_id, WireType::fixed64):
                facts_.embedding_config_id = fields.fixed64();
                break;
            case tag_of(response::checkpoint_id, WireType::fixed64):
                facts_.checkpoint_id = fields.fixed64();
                break;
            case tag_of(response::epoch, WireType::varint):
                facts_.epoch = fields.varint();
                break;
            case tag_of(response::variant, WireType::fixed64):
                facts_.variant = fields.fixed64();
                break;
        }
    }
}

std::string ForwardResponse::problem() {
    constexpr std::size_t kShapeBytes = kShapeNumbers * sizeof(std::uint32_t);
    constexpr std::size_t kCountBytes = kCountNumbers * sizeof(std::uint32_t);
    if (shapes_.size_bytes() % kShapeBytes != 0) {
        return "expected shapes of " + std::to_string(kShapeNumbers) + " u32, got " + std::to_string(shapes_.size_bytes()) +
               " bytes";
    }
    const std::span<const std::uint32_t> shapes = shapes_.items();
    const std::size_t features = shapes.size() / kShapeNumbers;
    std::size_t numbers = 0;
    for (std::size_t i = 0; i < shapes.size(); i += kShapeNumbers) {
        const TensorShape shape{shapes[i], shapes[i + 1], shapes[i + 2] & ~kOfFloats};
        const std::size_t halves = (shapes[i + 2] & kOfFloats) != 0 ? 2 : 1;  // of a number
        // Three of 32 bits each may be more than 64 bits hold, and all together too.
        const std::size_t rows = std::size_t{shape.samples} * std::max(shape.ids, 1U);
        if (rows > kMaxTensorNumbers || shape.numbers > kMaxTensorNumbers ||
            halves * rows * shape.numbers > kMaxTensorNumbers - numbers) {
            return "expected shapes of at most " + std::to_string(kMaxTensorNumbers) + " numbers, got more";
        }
        numbers += halves * rows * shape.numbers;
    }
    if (const std::size_t expected = sizeof(std::uint16_t) * numbers; tensors_.size_bytes() != expected) {
        return "expected " + std::to_string(expected) + " bytes for its shapes, got " + std::to_string(tensors_.size_bytes());
    }
    if (counts_.size_bytes() != 0 && counts_.size_bytes() != kCountBytes * features) {
        return "expected the counts of " + std::to_string(features) + " features, got " + std::to_string(counts_.size_bytes()) +
               " bytes";
    }
    return {};
}

}  // namespace persia::wire
