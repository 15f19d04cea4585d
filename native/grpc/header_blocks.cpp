#include "grpc/header_blocks.hpp"

#include <algorithm>
#include <cstring>

namespace persia::grpc {

namespace {

constexpr std::size_t kPreface = 24;
constexpr std::uint8_t kHeaders = 1, kContinuation = 9;
constexpr std::uint8_t kEndHeaders = 0x04, kPadded = 0x08, kPriority = 0x20;
constexpr std::size_t kPriorityBytes = 5;
constexpr std::size_t kLongestText = 65'536;  // that nghttp2 takes
constexpr std::size_t kTable = 4'096;         // bytes of the table of headers: a text of so many fits into none
constexpr std::size_t kMostBlock = 256 << 10;
constexpr std::size_t kFrame = 16 << 10;  // that may be sent before any settings

std::size_t length_of(const std::array<std::uint8_t, 9>& head) {
    return std::size_t{head[0]} << 16 | std::size_t{head[1]} << 8 | head[2];
}

void put_frame(std::string& to, std::array<std::uint8_t, 9> head, std::string_view payload) {
    for (int i = 0; i < 3; ++i) head[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(payload.size() >> (16 - 8 * i));
    to.append(reinterpret_cast<const char*>(head.data()), head.size());
    to += payload;
}

// The length of a text that is not Huffman's.
void put_length(std::string& to, std::size_t length) {
    constexpr std::size_t kPrefix = 127;
    to += static_cast<char>(kPrefix);  // REQUIRES: it does not fit into the prefix
    for (length -= kPrefix; length >= 128; length >>= 7) to += static_cast<char>((length & 127) | 128);
    to += static_cast<char>(length);
}

}  // namespace

void HeaderBlock::feed(std::span<const std::byte> bytes, std::string& to) {
    while (!bytes.empty()) {
        if (is_broken_ || part_ == Part::text) {
            const auto count =
                is_broken_ ? bytes.size() : static_cast<std::size_t>(std::min<std::uint64_t>(text_left_, bytes.size()));
            if (!is_left_out_ || is_broken_) to.append(reinterpret_cast<const char*>(bytes.data()), count);
            bytes = bytes.subspan(count);
            text_left_ -= is_broken_ ? 0 : count;
            if (!is_broken_ && text_left_ == 0) end_text();
            continue;
        }
        const auto byte = static_cast<std::uint8_t>(bytes.front());
        bytes = bytes.subspan(1);
        number_bytes_ += static_cast<char>(byte);
        if (part_ == Part::begin) {
            switch (meaning_) {
                case Meaning::name_length:
                case Meaning::value_length:
                    begin_number(byte, 7, meaning_);
                    break;
                default:
                    if ((byte & 0x80) != 0) {
                        begin_number(byte, 7, Meaning::other);
                    } else if ((byte & 0x40) != 0) {
                        begin_number(byte, 6, Meaning::name_index);
                    } else if ((byte & 0x20) != 0) {
                        begin_number(byte, 5, Meaning::other);
                    } else {
                        begin_number(byte, 4, Meaning::name_index);
                    }
            }
        } else {
            constexpr unsigned kMostShift = 28;
            is_broken_ = shift_ > kMostShift;
            number_ += std::uint64_t{byte & 0x7fU} << shift_;
            shift_ += 7;
            if ((byte & 0x80) == 0) part_ = Part::begin;
        }
        if (is_broken_) {
            to += number_bytes_;
        } else if (part_ == Part::begin) {
            end_number(to);
        }
    }
}

void HeaderBlock::begin_number(std::uint8_t byte, unsigned bits, Meaning meaning) {
    const unsigned most = (1U << bits) - 1;
    meaning_ = meaning;
    number_ = byte & most;
    shift_ = 0;
    part_ = number_ == most ? Part::number : Part::begin;
}

// What follows it: a name, a value, or another header.
void HeaderBlock::end_number(std::string& to) {
    switch (meaning_) {
        case Meaning::other:
            break;
        case Meaning::name_index:
            meaning_ = number_ == 0 ? Meaning::name_length : Meaning::value_length;
            break;
        case Meaning::name_length:
        case Meaning::value_length:
            return begin_text(to);
    }
    to += number_bytes_;
    number_bytes_.clear();
}

void HeaderBlock::begin_text(std::string& to) {
    text_left_ = number_;
    // When a block is too large for a call anyway, no text of it need be longer than the table.
    const std::size_t most = has_left_out_ ? kTable : kLongestText;
    is_left_out_ = number_ > most;
    if (is_left_out_) {
        has_left_out_ = true;
        put_length(to, most);
        to.append(most, 'x');
    } else {
        to += number_bytes_;
    }
    number_bytes_.clear();
    part_ = Part::text;
    if (text_left_ == 0) end_text();
}

void HeaderBlock::end_text() {
    part_ = Part::begin;
    meaning_ = meaning_ == Meaning::name_length ? Meaning::value_length : Meaning::other;
    is_left_out_ = false;
}

HeaderBlocks::HeaderBlocks(bool expects_preface) : plain_left_(expects_preface ? kPreface : 0) {}

// How many bytes from the first one on are passed on as they are: of the frame that comes, and of all whole frames and heads
// behind it that are no parts of a block which is looked at.
std::size_t HeaderBlocks::plain_bytes(std::span<const std::byte> bytes) {
    std::size_t plain = 0;
    while (head_got_ == 0 && !in_frame_) {
        const std::size_t count = std::min(plain_left_, bytes.size() - plain);
        plain += count;
        plain_left_ -= count;
        if (bytes.size() - plain < kFrameHead || in_block_) break;
        std::memcpy(head_.data(), bytes.data() + plain, kFrameHead);
        const std::uint8_t type = head_[3], flags = head_[4];
        if (type == kHeaders && ((flags & kEndHeaders) == 0 || length_of(head_) > kLongestText)) break;
        plain += kFrameHead;
        plain_left_ = length_of(head_);
    }
    return plain;
}

// Takes some of the bytes, of which the first one is not passed on as it is; returns how many.
std::size_t HeaderBlocks::take(std::span<const std::byte> bytes) {
    if (!in_frame_) {
        const std::size_t count = std::min(kFrameHead - head_got_, bytes.size());
        std::memcpy(head_.data() + head_got_, bytes.data(), count);
        head_got_ += count;
        if (head_got_ == kFrameHead) begin_frame();
        return count;
    }
    if (before_left_ != 0) {
        if (is_padded_) {
            is_padded_ = false;
            padding_left_ = static_cast<std::uint8_t>(bytes.front());
        }
        if (--before_left_ == 0) begin_fragment();
        return 1;
    }
    if (fragment_left_ != 0) {
        const std::size_t count = std::min(fragment_left_, bytes.size());
        fragment_left_ -= count;
        take_fragment(bytes.first(count));
        if (fragment_left_ == 0 && padding_left_ == 0) end_frame();
        return count;
    }
    const std::size_t count = std::min(padding_left_, bytes.size());
    padding_left_ -= count;
    if (padding_left_ == 0) end_frame();
    return count;
}

// REQUIRES: its head is whole.
void HeaderBlocks::begin_frame() {
    head_got_ = 0;
    const std::uint8_t type = head_[3], flags = head_[4];
    const bool goes_on =
        in_block_ && type == kContinuation && std::equal(head_.begin() + 5, head_.end(), next_head_.begin() + 5);
    const bool begins = !in_block_ && type == kHeaders && ((flags & kEndHeaders) == 0 || length_of(head_) > kLongestText);
    if (!goes_on && !begins) {
        in_block_ = false;  // nghttp2 knows what to say to a frame within a block
        out_.append(reinterpret_cast<const char*>(head_.data()), head_.size());
        plain_left_ = length_of(head_);
        return;
    }
    if (begins) {
        in_block_ = true;
        next_head_ = head_;
        next_head_[4] = static_cast<std::uint8_t>(flags & ~(kEndHeaders | kPadded | kPriority));
        frames_ = block_bytes_ = 0;
        scan_ = {};
    }
    if (++frames_ > kMostFrames) problem_ = "far more frames of headers than are allowed";
    in_frame_ = true;
    is_padded_ = begins && (flags & kPadded) != 0;
    before_left_ = (is_padded_ ? 1 : 0) + (begins && (flags & kPriority) != 0 ? kPriorityBytes : 0);
    padding_left_ = 0;
    fragment_left_ = length_of(head_);
    if (before_left_ > fragment_left_) problem_ = "a frame of headers that is shorter than it says";
    if (before_left_ == 0) begin_fragment();
}

// REQUIRES: the fields before it are known.
void HeaderBlocks::begin_fragment() {
    const bool is_first = frames_ == 1;
    const std::size_t before = !is_first ? 0 : ((head_[4] & kPadded) ? 1 : 0) + ((head_[4] & kPriority) ? kPriorityBytes : 0);
    if (before + padding_left_ > fragment_left_) {
        problem_ = "a frame of headers that is shorter than it says";
        return;
    }
    fragment_left_ -= before + padding_left_;
    if (fragment_left_ == 0 && padding_left_ == 0) end_frame();
}

void HeaderBlocks::take_fragment(std::span<const std::byte> bytes) {
    scan_.feed(bytes, part_);
    if (block_bytes_ + part_.size() > kMostBlock) problem_ = "far more headers than are allowed";
}

void HeaderBlocks::end_frame() {
    in_frame_ = false;
    const bool is_last = (head_[4] & kEndHeaders) != 0;
    if (frames_ == 1 || is_last || !part_.empty()) put_part(is_last);
    in_block_ = !is_last;
}

// What a frame of the block has become, in frames of any connection's size.
void HeaderBlocks::put_part(bool is_last) {
    std::string_view rest = part_;
    do {
        const std::string_view piece = rest.substr(0, kFrame);
        rest.remove_prefix(piece.size());
        if (rest.empty() && is_last) next_head_[4] |= kEndHeaders;
        put_frame(out_, next_head_, piece);
        next_head_[3] = kContinuation;
        next_head_[4] = 0;
    } while (!rest.empty());
    block_bytes_ += part_.size();
    part_.clear();
}

}  // namespace persia::grpc
