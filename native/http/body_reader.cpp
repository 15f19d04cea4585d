#include "http/body_reader.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace persia::http {

namespace {

constexpr std::size_t kMaxChunkLine = 256;
constexpr std::size_t kFirstRoom = 16 << 10;  // of a body whose length is not known

std::optional<std::uint64_t> parse_hex(std::string_view text) {
    constexpr std::size_t kMostDigits = 15;
    if (text.empty() || text.size() > kMostDigits) return std::nullopt;
    std::uint64_t value = 0;
    for (const char c : text) {
        std::uint64_t digit = 0;
        if (c >= '0' && c <= '9') {
            digit = static_cast<std::uint64_t>(c - '0');
        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            digit = static_cast<std::uint64_t>((c | 0x20) - 'a' + 10);
        } else {
            return std::nullopt;
        }
        value = value << 4 | digit;
    }
    return value;
}

}  // namespace

BodyReader::BodyReader(const RequestHead& head, std::size_t max_bytes, std::shared_ptr<grpc::MemoryBudget> budget)
    : max_bytes_(max_bytes), stage_(head.chunked ? Stage::chunk_size : Stage::bytes), left_(head.content_length),
      reservation_(std::move(budget)) {
    if (head.chunked) return;
    if (left_ > max_bytes_) {
        refuse(413, "expected a body of at most " + std::to_string(max_bytes_) + " bytes, got one of " + std::to_string(left_));
    } else if (left_ == 0) {
        stage_ = Stage::complete;
    }
}

std::size_t BodyReader::feed(std::string_view bytes) {
    const std::size_t all = bytes.size();
    while (!bytes.empty() && !refusal_ && !complete()) {
        switch (stage_) {
            case Stage::bytes:
            case Stage::chunk_bytes: {
                const std::string_view part = bytes.substr(0, std::min<std::uint64_t>(left_, bytes.size()));
                bytes.remove_prefix(part.size());
                add(part);
                break;
            }
            case Stage::chunk_size:
                if (const auto whole = line(bytes)) begin_chunk(*whole);
                break;
            case Stage::chunk_end:
                if (const auto whole = line(bytes)) {
                    if (!whole->empty()) refuse(400, "expected a line's end behind a chunk, got more bytes than its size says");
                    stage_ = Stage::chunk_size;
                }
                break;
            case Stage::trailers:
                if (const auto whole = line(bytes)) {
                    trailer_bytes_ += whole->size() + 2;
                    if (trailer_bytes_ > kMaxHeadBytes) refuse(431, "expected less trailers behind the last chunk");
                    if (whole->empty()) stage_ = Stage::complete;
                }
                break;
            case Stage::complete:
                break;
        }
    }
    return all - bytes.size();
}

std::span<std::byte> BodyReader::room() {
    if ((stage_ != Stage::bytes && stage_ != Stage::chunk_bytes) || refusal_ || left_ == 0) return {};
    if (!hold(size_ + static_cast<std::size_t>(std::min<std::uint64_t>(left_, kFirstRoom)))) return {};
    return {memory_.get() + size_, static_cast<std::size_t>(std::min<std::uint64_t>(left_, room_ - size_))};
}

void BodyReader::fed_room(std::size_t bytes) {
    size_ += bytes;
    left_ -= bytes;
    if (left_ == 0) stage_ = stage_ == Stage::bytes ? Stage::complete : Stage::chunk_end;
}

grpc::ReceivedMessage BodyReader::take() { return {memory_.release(), std::exchange(size_, 0), std::move(reservation_)}; }

// Memory grows with what has come, so that a length alone takes none.
bool BodyReader::hold(std::size_t bytes) {
    if (bytes <= room_) return true;
    const std::size_t most = stage_ == Stage::bytes ? size_ + static_cast<std::size_t>(left_) : max_bytes_;
    const std::size_t wanted = std::max(bytes, std::min(most, std::max(room_ * 2, kFirstRoom)));
    if (!reservation_.grow_to(wanted)) {
        refuse(503, "the server has no memory left for a request of this size: try again later");
        return false;
    }
    auto* grown = static_cast<std::byte*>(std::realloc(memory_.get(), wanted));
    if (grown == nullptr) {
        refuse(503, "the system has no memory left for a request of this size: try again later");
        return false;
    }
    static_cast<void>(memory_.release());
    memory_.reset(grown);
    room_ = wanted;
    return true;
}

void BodyReader::add(std::string_view bytes) {
    if (!hold(size_ + bytes.size())) return;
    std::memcpy(memory_.get() + size_, bytes.data(), bytes.size());
    fed_room(bytes.size());
}

// The line that goes on with `bytes`, without its end; nullopt: it is not all there, or was refused.
std::optional<std::string> BodyReader::line(std::string_view& bytes) {
    const std::size_t end = bytes.find('\n');
    const std::string_view part = bytes.substr(0, end);
    line_ += part;
    bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + 1);
    if (line_.size() > (stage_ == Stage::trailers ? kMaxHeadBytes : kMaxChunkLine)) {
        refuse(400, "expected a shorter line between chunks");
        return std::nullopt;
    }
    if (end == std::string_view::npos) return std::nullopt;
    std::string whole = std::exchange(line_, {});
    if (whole.empty() || whole.back() != '\r' || whole.find('\r') != whole.size() - 1) {
        refuse(400, "expected lines between chunks that end with CR and LF");
        return std::nullopt;
    }
    whole.pop_back();
    return whole;
}

void BodyReader::begin_chunk(const std::string& line) {
    // An extension may follow; nobody asks for one.
    const auto size = parse_hex(std::string_view(line).substr(0, line.find(';')));
    if (!size) return refuse(400, "expected the size of a chunk in hexadecimal digits");
    if (*size > max_bytes_ - size_) {
        return refuse(413, "expected a body of at most " + std::to_string(max_bytes_) + " bytes, got a longer one in chunks");
    }
    left_ = *size;
    stage_ = *size == 0 ? Stage::trailers : Stage::chunk_bytes;
}

void BodyReader::refuse(int status, std::string message) { refusal_ = Refusal{status, std::move(message)}; }

}  // namespace persia::http
