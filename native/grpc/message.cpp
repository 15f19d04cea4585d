#include "grpc/message.hpp"

#include <zlib.h>

#include <algorithm>
#include <cstring>

namespace persia::grpc {

namespace {

// What is taken at first for a message that announces more, and so many times what has come afterwards: a sender that announces
// much and sends little does not make us hold the rest.
constexpr std::size_t kFirstRoom = 64 << 10;
constexpr std::size_t kTimesWhatCame = 16;
// Below this bytes are copied rather than read to their place: a read of its own costs more.
constexpr std::size_t kWorthReading = 16 << 10;
constexpr std::size_t kFirstInflated = 16 << 10;
// What a message takes beside its bytes, however few they are.
constexpr std::size_t kOverhead = 128;

std::size_t announced(const std::byte* prefix) {
    std::size_t size = 0;
    for (std::size_t i = 1; i < kPrefixBytes; ++i) size = size << 8 | static_cast<std::size_t>(prefix[i]);
    return size;
}

std::string too_large(std::size_t limit, const std::string& got) {
    return "expected a message of at most " + std::to_string(limit) + " bytes, got one of " + got;
}

}  // namespace

void put_prefix(std::byte* to, std::size_t size) {
    to[0] = std::byte{0};
    for (std::size_t i = 1; i < kPrefixBytes; ++i) to[i] = static_cast<std::byte>(size >> (8 * (kPrefixBytes - 1 - i)));
}

OutgoingMessage::OutgoingMessage(std::string bytes) : size_(bytes.size()) {
    if (!bytes.empty()) parts_.push_back({std::make_shared<std::string>(std::move(bytes)), {}});
}

void OutgoingMessage::append(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    if (parts_.empty() || !parts_.back().copied) parts_.push_back({std::make_shared<std::string>(), {}});
    parts_.back().copied->append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    size_ += bytes.size();
}

void OutgoingMessage::append(std::span<const std::byte> bytes, std::shared_ptr<const void> owner) {
    if (bytes.empty()) return;
    parts_.push_back({nullptr, {bytes, std::move(owner)}});
    size_ += bytes.size();
}

std::vector<OutgoingMessage::Piece> OutgoingMessage::pieces() const {
    std::vector<Piece> pieces;
    pieces.reserve(parts_.size());
    for (const Part& part : parts_) {
        pieces.push_back(part.copied ? Piece{std::as_bytes(std::span(*part.copied)), part.copied} : part.lent);
    }
    return pieces;
}

MessageReader::MessageReader(std::size_t max_bytes, std::shared_ptr<MemoryBudget> budget)
    : max_bytes_(max_bytes), budget_(std::move(budget)) {}

std::size_t MessageReader::feed(std::span<const std::byte> bytes) {
    if (complete_ || !error_.ok()) return 0;
    std::size_t taken = 0;
    if (prefix_got_ < kPrefixBytes) {
        taken = std::min(kPrefixBytes - prefix_got_, bytes.size());
        std::memcpy(prefix_ + prefix_got_, bytes.data(), taken);
        prefix_got_ += taken;
        if (prefix_got_ < kPrefixBytes || !begin()) return taken;
    }
    const auto rest = bytes.subspan(taken, std::min(bytes.size() - taken, size_ - got_));
    if (!rest.empty()) {
        if (rest.data() != memory_.get() + got_) {  // else it was read to its place
            if (!hold(got_ + rest.size())) return taken;
            std::memmove(memory_.get() + got_, rest.data(), rest.size());
        }
        got_ += rest.size();
        taken += rest.size();
    }
    if (got_ == size_) finish();
    return taken;
}

std::span<std::byte> MessageReader::room() {
    if (complete_ || !error_.ok() || prefix_got_ < kPrefixBytes || size_ - got_ < kWorthReading) return {};
    if (room_ == got_ && !hold(got_ + 1)) return {};
    return {memory_.get() + got_, room_ - got_};
}

// The prefix is there.
bool MessageReader::begin() {
    if (prefix_[0] > std::byte{1}) {
        fail(Code::internal, "expected a message that begins with 0 or 1, got " + std::to_string(static_cast<int>(prefix_[0])));
        return false;
    }
    if (prefix_[0] == std::byte{1} && !gzip_) {
        fail(Code::internal, "expected a message without compression, as the call has no grpc-encoding, got one with");
        return false;
    }
    size_ = announced(prefix_);
    if (size_ > max_bytes_) {
        fail(Code::resource_exhausted, too_large(max_bytes_, std::to_string(size_)));
        return false;
    }
    return size_ != 0 || reserve(0);
}

bool MessageReader::reserve(std::size_t bytes) {
    if (!reservation_.bytes()) reservation_ = Reservation(budget_);
    if (reservation_.grow_to(kOverhead + bytes)) return true;
    lacks_memory_ = true;
    fail(Code::resource_exhausted, "expected memory for a message of " + std::to_string(size_) +
                                       " bytes, got none: " + std::to_string(budget_->used()) + " of " +
                                       std::to_string(budget_->limit()) + " bytes are in use");
    return false;
}

// Makes room for so many bytes of the message at least.
bool MessageReader::hold(std::size_t bytes) {
    if (bytes <= room_) return true;
    const std::size_t wanted = std::min(size_, std::max({bytes, kTimesWhatCame * room_, kFirstRoom}));
    if (!reserve(wanted)) return false;
    auto* more = static_cast<std::byte*>(std::realloc(memory_.get(), wanted));
    if (more == nullptr) {
        fail(Code::resource_exhausted, "expected memory for a message of " + std::to_string(size_) + " bytes, got none");
        return false;
    }
    static_cast<void>(memory_.release());  // realloc() has freed it
    memory_.reset(more);
    room_ = wanted;
    return true;
}

// All bytes are there.
void MessageReader::finish() {
    if (prefix_[0] == std::byte{0}) {
        complete_ = true;
        return;
    }
    const std::unique_ptr<std::byte, Free> packed = std::move(memory_);
    const Reservation held = std::move(reservation_);
    const std::size_t packed_size = got_;
    reservation_ = Reservation();
    room_ = got_ = 0;
    size_ = max_bytes_;  // until it is known
    z_stream stream{};
    constexpr int kGzip = 16 + MAX_WBITS;
    if (inflateInit2(&stream, kGzip) != Z_OK) return fail(Code::resource_exhausted, "expected memory to unpack a message");
    stream.next_in = reinterpret_cast<Bytef*>(packed.get());
    stream.avail_in = static_cast<uInt>(packed_size);
    int outcome = Z_OK;
    while (outcome == Z_OK && error_.ok()) {
        if (got_ == max_bytes_) {
            fail(Code::resource_exhausted, too_large(max_bytes_, "more when it is unpacked"));
        } else if (hold(got_ + std::min(kFirstInflated, max_bytes_ - got_))) {
            stream.next_out = reinterpret_cast<Bytef*>(memory_.get() + got_);
            stream.avail_out = static_cast<uInt>(room_ - got_);
            outcome = inflate(&stream, Z_NO_FLUSH);
            got_ = room_ - stream.avail_out;
        }
    }
    inflateEnd(&stream);
    if (!error_.ok()) return;
    if (outcome != Z_STREAM_END || stream.avail_in != 0)
        return fail(Code::internal, "expected a message packed by gzip, got other bytes");
    size_ = got_;
    complete_ = true;
}

ReceivedMessage MessageReader::take() {
    ReceivedMessage message(memory_.release(), size_, std::move(reservation_));
    reservation_ = Reservation();
    prefix_got_ = size_ = room_ = got_ = 0;
    complete_ = false;
    return message;
}

}  // namespace persia::grpc
