#include "inference/worker_frames.hpp"

#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "inference/frame_numbers.hpp"

namespace persia::inference {

namespace {

constexpr char kInfer = 'I';
constexpr std::size_t kMaxBatch = 1 << 16;
constexpr std::size_t kLentBytes = 4 << 10;  // fewer are copied

void flush(std::string& small, grpc::OutgoingMessage& message) {
    message.append(std::as_bytes(std::span(small)));
    small.clear();
}

}  // namespace

std::size_t WorkerRequest::size_bytes() const {
    std::size_t bytes = 0;
    for (const Input& input : inputs) bytes += input.bytes.size();
    return bytes;
}

bool Prediction::has(std::string_view header, std::string_view value) const {
    return std::ranges::any_of(headers, [&](const auto& one) { return one.first == header && one.second == value; });
}

std::optional<std::string> why_not_sendable(const WorkerRequest& request) {
    const auto problem = [](const char* what, std::int32_t most, std::size_t got) {
        return "expected " + std::string(what) + " of at most " + std::to_string(most) + " bytes, got one of " +
               std::to_string(got);
    };
    for (const Input& input : request.inputs) {
        if (input.name.size() > kMaxTextBytes) return problem("the name of an input", kMaxTextBytes, input.name.size());
        if (input.content_type.size() > kMaxTextBytes) {
            return problem("the content type of an input", kMaxTextBytes, input.content_type.size());
        }
        if (input.bytes.size() > kMaxBodyBytes) return problem("an input", kMaxBodyBytes, input.bytes.size());
    }
    return std::nullopt;
}

grpc::OutgoingMessage encode_batch(std::span<const WorkerRequest* const> requests) {
    grpc::OutgoingMessage message;
    std::string small(1, kInfer);
    for (const WorkerRequest* request : requests) {
        put_text(small, request->id);
        for (const auto& [name, value] : request->headers) {
            put_text(small, name);
            put_text(small, value);
        }
        put_number(small, kEndOfList);
        for (const Input& input : request->inputs) {
            put_text(small, input.name);
            put_text(small, input.content_type);
            put_number(small, static_cast<std::int32_t>(input.bytes.size()));
            if (input.bytes.size() < kLentBytes) {
                small.append(reinterpret_cast<const char*>(input.bytes.data()), input.bytes.size());
            } else {
                flush(small, message);
                message.append(input.bytes, input.owner ? input.owner : request->owner);
            }
        }
        put_number(small, kEndOfList);
    }
    put_number(small, kEndOfList);
    flush(small, message);
    return message;
}

std::size_t ReplyReader::feed(std::span<const std::byte> bytes) {
    const std::size_t all = bytes.size();
    while (!bytes.empty() && !complete()) {
        const std::size_t before = bytes.size();
        take_field(bytes);
        seen_ += before - bytes.size();
    }
    return all - bytes.size();
}

std::span<std::byte> ReplyReader::room() {
    if (stage_ != Stage::body || !length_ || !body_) return {};
    return {body_.get() + body_got_, *length_ - body_got_};
}

void ReplyReader::feed_room(std::size_t bytes) {
    body_got_ += bytes;
    seen_ += bytes;
    if (body_got_ == *length_) end_body();
}

WorkerReply ReplyReader::take() {
    stage_ = Stage::code;
    seen_ = 0;
    return std::exchange(reply_, {});
}

void ReplyReader::take_field(std::span<const std::byte>& bytes) {
    Prediction* const last = reply_.predictions.empty() ? nullptr : &reply_.predictions.back();
    switch (stage_) {
        case Stage::code:
            if (const auto code = number(bytes)) {
                reply_.code = *code;
                stage_ = Stage::message;
            }
            break;
        case Stage::message:
            if (text(bytes, reply_.message)) stage_ = Stage::request_id;
            break;
        case Stage::request_id:
            if (!length_) {
                const auto length = number(bytes);
                if (!length) break;
                if (*length == kEndOfList) {
                    stage_ = Stage::complete;
                    break;
                }
                if (*length < 0) throw DecodeError("the length of a request's id, or -1", std::to_string(*length), seen_);
                if (reply_.predictions.size() == kMaxBatch) {
                    throw DecodeError("at most " + std::to_string(kMaxBatch) + " predictions", "more", seen_);
                }
                length_ = static_cast<std::uint32_t>(*length);
                reply_.predictions.emplace_back();
            }
            if (text(bytes, reply_.predictions.back().request_id)) stage_ = Stage::content_type;
            break;
        case Stage::content_type:
            if (text(bytes, last->content_type)) stage_ = Stage::status;
            break;
        case Stage::status:
            if (const auto status = number(bytes)) {
                last->status = *status;
                stage_ = Stage::reason;
            }
            break;
        case Stage::reason:
            if (text(bytes, last->reason)) stage_ = Stage::header_count;
            break;
        case Stage::header_count:
            if (const auto count = number(bytes)) {
                if (*count < 0 || *count > kMaxHeaders) {
                    throw DecodeError("at most " + std::to_string(kMaxHeaders) + " headers", std::to_string(*count), seen_);
                }
                headers_left_ = *count;
                stage_ = headers_left_ == 0 ? Stage::body : Stage::header_name;
            }
            break;
        case Stage::header_name:
            if (std::string name; text(bytes, name)) {
                last->headers.emplace_back(std::move(name), std::string());
                stage_ = Stage::header_value;
            }
            break;
        case Stage::header_value:
            if (text(bytes, last->headers.back().second)) stage_ = --headers_left_ == 0 ? Stage::body : Stage::header_name;
            break;
        case Stage::body:
            if (!length_) {
                if (const auto length = number(bytes)) begin_body(*length);
            } else {
                const std::size_t part = std::min<std::size_t>(bytes.size(), *length_ - body_got_);
                if (body_) std::memcpy(body_.get() + body_got_, bytes.data(), part);
                bytes = bytes.subspan(part);
                body_got_ += part;
                if (body_got_ == *length_) end_body();
            }
            break;
        case Stage::complete:
            break;
    }
}

std::optional<std::int32_t> ReplyReader::number(std::span<const std::byte>& bytes) {
    const std::size_t part = std::min(bytes.size(), sizeof(number_) - number_got_);
    std::memcpy(number_ + number_got_, bytes.data(), part);
    bytes = bytes.subspan(part);
    number_got_ += part;
    if (number_got_ < sizeof(number_)) return std::nullopt;
    number_got_ = 0;
    return number_at(number_);
}

// Whether the text is all there, and in `into`.
bool ReplyReader::text(std::span<const std::byte>& bytes, std::string& into) {
    if (!length_) {
        const auto length = number(bytes);
        if (!length) return false;
        if (*length < 0) throw DecodeError("the length of a text", std::to_string(*length), seen_);
        length_ = static_cast<std::uint32_t>(*length);
    }
    if (*length_ > kMaxTextBytes) {
        throw DecodeError("a text of at most " + std::to_string(kMaxTextBytes) + " bytes", std::to_string(*length_), seen_);
    }
    const std::size_t part = std::min<std::size_t>(bytes.size(), *length_ - text_.size());
    text_.append(reinterpret_cast<const char*>(bytes.data()), part);
    bytes = bytes.subspan(part);
    if (text_.size() < *length_) return false;
    into = std::exchange(text_, {});
    length_.reset();
    return true;
}

void ReplyReader::begin_body(std::int32_t length) {
    if (length < 0) throw DecodeError("the length of a body", std::to_string(length), seen_);
    length_ = static_cast<std::uint32_t>(length);
    body_got_ = 0;
    const bool too_large = *length_ > max_body_bytes_;
    reply_.predictions.back().too_large = too_large;
    if (!too_large && *length_ != 0) body_ = std::make_shared_for_overwrite<std::byte[]>(*length_);
    if (*length_ == 0) end_body();
}

void ReplyReader::end_body() {
    Prediction& prediction = reply_.predictions.back();
    if (body_) prediction.body = {body_.get(), *length_};
    prediction.owner = std::exchange(body_, nullptr);
    length_.reset();
    stage_ = Stage::request_id;
}

}  // namespace persia::inference
