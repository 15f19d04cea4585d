// The server's end of what a model server and its workers say to each other: batches as they are written, and replies as they
// are read. The protocol is in inference/frame_numbers.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpc/message.hpp"

namespace persia::inference {

using Headers = std::vector<std::pair<std::string, std::string>>;

// The header of a prediction that refuses its request: the status is why, and the body has the words.
constexpr std::string_view kRefusalHeader = ":refusal";

// Part of what a handler gets.
struct Input {
    std::string name;
    std::string content_type;  // empty: the worker does not decode it
    std::span<const std::byte> bytes;
    std::shared_ptr<const void> owner = nullptr;  // of the bytes; null: the request owns them
};

// One request of a batch.
struct WorkerRequest {
    std::string id;
    Headers headers;
    std::vector<Input> inputs;
    std::shared_ptr<const void> owner;  // of the inputs' bytes

    std::size_t size_bytes() const;  // of its inputs
};

// Why no frame takes its inputs, for its caller; nullopt: one does. Id and headers are short: both protocols limit theirs.
std::optional<std::string> why_not_sendable(const WorkerRequest& request);

// REQUIRES: all of them are sendable.
grpc::OutgoingMessage encode_batch(std::span<const WorkerRequest* const> requests);

// What a handler answered to one request.
struct Prediction {
    std::string request_id;
    std::string content_type;
    std::int32_t status = 200;  // HTTP's
    std::string reason;
    Headers headers;
    std::span<const std::byte> body;
    std::shared_ptr<const void> owner;  // of the body
    bool too_large = false;             // the body was longer than is allowed, and passed over

    bool has(std::string_view header, std::string_view value) const;
};

struct WorkerReply {
    std::int32_t code = 200;  // another one: the whole batch failed, for the reason that `message` is
    std::string message;
    std::vector<Prediction> predictions;
};

// Puts replies together from what comes of a worker.
class ReplyReader {
  public:
    explicit ReplyReader(std::size_t max_body_bytes) : max_body_bytes_(max_body_bytes) {}

    // Takes bytes, up to the end of a reply; returns how many. Throws DecodeError for bytes that are no reply: nothing more can
    // be read of this worker.
    std::size_t feed(std::span<const std::byte> bytes);

    // Where the next bytes may be read to, so that feed_room() need not copy them; empty: they may not.
    std::span<std::byte> room();
    void feed_room(std::size_t bytes);

    bool complete() const { return stage_ == Stage::complete; }
    // REQUIRES: complete. The reader begins anew.
    WorkerReply take();

  private:
    enum class Stage {
        code,
        message,
        request_id,
        content_type,
        status,
        reason,
        header_count,
        header_name,
        header_value,
        body,
        complete
    };

    std::optional<std::int32_t> number(std::span<const std::byte>& bytes);
    bool text(std::span<const std::byte>& bytes, std::string& into);
    void take_field(std::span<const std::byte>& bytes);
    void begin_body(std::int32_t length);
    void end_body();

    const std::size_t max_body_bytes_;
    Stage stage_ = Stage::code;
    WorkerReply reply_;
    std::uint64_t seen_ = 0;  // bytes of the reply
    std::byte number_[4];     // the number that has come in part
    std::size_t number_got_ = 0;
    std::optional<std::uint32_t> length_;  // of the text or body that is coming
    std::string text_;
    std::int32_t headers_left_ = 0;
    std::shared_ptr<std::byte[]> body_;
    std::size_t body_got_ = 0;
};

}  // namespace persia::inference
