#include "wire/protobuf.hpp"

#include <bit>
#include <limits>
#include <utility>

#include "base/error.hpp"

namespace persia::wire {

static_assert(std::endian::native == std::endian::little, "numbers and columns are sent as they are");

namespace {

constexpr std::size_t kMaxVarintBytes = 10;
// Below this bytes are copied: a piece of its own costs more on its way to the socket.
constexpr std::size_t kWorthLending = 4 << 10;

// Bytes that were copied, and what they were copied from.
struct Kept {
    Kept(std::string what, std::shared_ptr<const void> of) : bytes(std::move(what)), owner(std::move(of)) {}

    const std::string bytes;
    const std::shared_ptr<const void> owner;
};

std::size_t varint_size(std::uint64_t value) { return (static_cast<std::size_t>(std::bit_width(value | 1)) + 6) / 7; }

// Reads the varint at `at`, and goes beyond it.
std::uint64_t varint_at(std::span<const std::byte> bytes, std::size_t& at, const char* what) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < kMaxVarintBytes; ++i) {
        if (at + i == bytes.size()) throw DecodeError(what, "the end after " + std::to_string(i) + " bytes of it", at);
        const auto byte = std::to_integer<std::uint64_t>(bytes[at + i]);
        value |= (byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            at += i + 1;
            return value;
        }
    }
    throw DecodeError(what, "one of more than 10 bytes", at);
}

}  // namespace

bool FieldReader::next() {
    if (at_ == message_.size()) return false;
    const std::size_t began = at_;
    const std::uint64_t tag = varint_at(message_, at_, "the tag of a field");
    if (tag > std::numeric_limits<std::uint32_t>::max() || tag >> 3 == 0) {
        throw DecodeError("a field with a number of 1 to 536870911", std::to_string(tag >> 3), began);
    }
    tag_ = static_cast<std::uint32_t>(tag);
    switch (static_cast<WireType>(tag & 7)) {
        case WireType::varint:
            number_ = varint_at(message_, at_, "a varint");
            return true;
        case WireType::fixed64:
            number_ = read_fixed(sizeof(std::uint64_t));
            return true;
        case WireType::fixed32:
            number_ = read_fixed(sizeof(std::uint32_t));
            return true;
        case WireType::bytes: {
            const std::size_t at = at_;
            const std::uint64_t length = varint_at(message_, at_, "the length of a field");
            if (length > message_.size() - at_) {
                throw DecodeError("at most the " + std::to_string(message_.size() - at_) + " bytes that are left for field " +
                                      std::to_string(tag >> 3),
                                  "a length of " + std::to_string(length), at);
            }
            bytes_ = message_.subspan(at_, length);
            at_ += length;
            return true;
        }
    }
    throw DecodeError("a field that is a number or bytes", "one of wire type " + std::to_string(tag & 7), began);
}

std::uint64_t FieldReader::read_fixed(std::size_t size) {
    if (size > message_.size() - at_) {
        throw DecodeError("a number of " + std::to_string(size) + " bytes", "only " + std::to_string(message_.size() - at_),
                          at_);
    }
    std::uint64_t value = 0;
    std::memcpy(&value, message_.data() + at_, size);
    at_ += size;
    return value;
}

bool FieldReader::repeated(std::uint32_t field, std::size_t most, std::vector<std::uint64_t>& numbers) const {
    std::size_t at = at_;
    const auto append = [&](std::uint64_t number) {
        if (numbers.size() == most) {
            throw DecodeError("at most " + std::to_string(most) + " numbers in field " + std::to_string(field), "more", at);
        }
        numbers.push_back(number);
    };
    if (tag_ == tag_of(field, WireType::varint)) {
        append(number_);
        return true;
    }
    if (tag_ != tag_of(field, WireType::bytes)) return false;
    for (at = at_ - bytes_.size(); at < at_;) append(varint_at(message_.first(at_), at, "a packed varint"));
    return true;
}

void MessageWriter::put(std::uint64_t varint) {
    for (; varint > 0x7f; varint >>= 7) small_ += static_cast<char>(varint | 0x80);
    small_ += static_cast<char>(varint);
}

void MessageWriter::put_length(std::uint32_t field, std::size_t length) {
    put(tag_of(field, WireType::bytes));
    put(length);
}

void MessageWriter::varint(std::uint32_t field, std::uint64_t value) {
    if (value == 0) return;
    put(tag_of(field, WireType::varint));
    put(value);
}

void MessageWriter::fixed64(std::uint32_t field, std::uint64_t value) {
    if (value == 0) return;
    put(tag_of(field, WireType::fixed64));
    append(std::as_bytes(std::span(&value, 1)));
}

void MessageWriter::bytes(std::uint32_t field, std::span<const std::byte> value) {
    if (value.empty()) return;
    put_length(field, value.size());
    append(value);
}

void MessageWriter::element(std::uint32_t field, std::span<const std::byte> value) {
    put_length(field, value.size());
    if (value.size() < kWorthLending) return append(value);
    message_.append(std::as_bytes(std::span(small_)));
    small_.clear();
    message_.append(value, owner_);
}

void MessageWriter::packed(std::uint32_t field, std::span<const std::uint64_t> values) {
    if (values.empty()) return;
    std::size_t length = 0;
    for (const std::uint64_t value : values) length += varint_size(value);
    put_length(field, length);
    for (const std::uint64_t value : values) put(value);
}

// What comes before the bytes of a column: padding, so that they are aligned, and their length.
void MessageWriter::begin_column(std::uint32_t field, std::size_t length, std::size_t alignment) {
    constexpr std::size_t kPaddingHeader = 2;
    const std::size_t header = varint_size(tag_of(field, WireType::bytes)) + varint_size(length);
    if (const std::size_t beyond = (size() + header) % alignment; beyond != 0) {
        std::size_t padding = alignment - beyond;
        while (padding < kPaddingHeader) padding += alignment;
        put_length(kPaddingField, padding - kPaddingHeader);
        small_.append(padding - kPaddingHeader, '\0');
    }
    put_length(field, length);
}

void MessageWriter::lend(std::uint32_t field, std::span<const std::byte> value, std::size_t alignment) {
    if (value.empty()) return;
    begin_column(field, value.size(), alignment);
    if (owner_ == nullptr || value.size() < kWorthLending) return append(value);
    message_.append(std::as_bytes(std::span(small_)));
    small_.clear();
    message_.append(value, owner_);
}

grpc::OutgoingMessage MessageWriter::take() {
    if (message_.size() == 0 && owner_ != nullptr) {  // which lives until the message is sent, also if nothing was lent
        const auto kept = std::make_shared<Kept>(std::exchange(small_, {}), std::move(owner_));
        message_.append(std::as_bytes(std::span(kept->bytes)), kept);
        return std::exchange(message_, {});
    }
    if (message_.size() == 0) return grpc::OutgoingMessage(std::exchange(small_, {}));
    message_.append(std::as_bytes(std::span(small_)));
    small_.clear();
    return std::exchange(message_, {});
}

}  // namespace persia::wire
