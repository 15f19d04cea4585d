#include "persia/frame_call.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>

#include "persia/error.hpp"

namespace persia {

namespace {

// Room for what may come with the header. A little more than the last answer, of which the next one is likely to be the size.
constexpr std::size_t kLeastRoom = 4 << 10;
constexpr std::size_t kMostRoom = 1 << 20;
constexpr std::size_t kMoreOf = 8;  // an eighth of it more

}  // namespace

FrameCall::FrameCall(int socket, std::size_t columns, std::uint64_t max_bytes)
    : socket_(socket), columns_(columns), max_bytes_(max_bytes), likely_(kLeastRoom) {
    if (columns == 0 || columns > kMaxFrameColumns) {
        throw InvalidInput("expected answers of 1 to 6 columns, got " + std::to_string(columns));
    }
}

void FrameCall::ask(std::uint16_t turn, std::span<const std::span<const std::byte>> columns, bool connected) {
    FrameHeader header;
    header.columns = static_cast<std::uint16_t>(columns.size());
    header.turn = turn;
    iovec pieces[kMaxFrameColumns + 1] = {{&header, sizeof(header)}};
    std::uint64_t size = 0;
    for (std::size_t i = 0; i < columns.size(); ++i) {
        size += columns[i].size();
        header.lengths[i] = static_cast<std::uint32_t>(columns[i].size());
        pieces[i + 1] = {const_cast<std::byte*>(columns[i].data()), columns[i].size()};
    }
    if (size > max_bytes_) {
        throw TooLarge("expected a frame of at most " + std::to_string(max_bytes_) + " bytes, got " + std::to_string(size));
    }
    unsent_.clear();
    frame_.reset();
    sent_ = room_ = got_ = size_ = 0;
    turn_ = turn;
    asked_ = Clock::now();
    state_ = State::pending;
    msghdr message{};
    message.msg_iov = pieces;
    message.msg_iovlen = columns.size() + 1;
    ssize_t sent = 0;
    if (connected) {
        do sent = sendmsg(socket_, &message, MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        if (sent < 0 && errno != EAGAIN) return fail(errno);
    }
    auto left = static_cast<std::size_t>(std::max(sent, ssize_t{0}));
    if (left == size + sizeof(header)) return;
    // The rest has to stay until it can be sent, and what was handed in need not.
    try {
        unsent_.reserve(size + sizeof(header) - left);
        for (const iovec& piece : std::span(pieces, columns.size() + 1)) {
            const std::size_t skip = std::min(left, piece.iov_len);
            left -= skip;
            const auto* begin = static_cast<const std::byte*>(piece.iov_base);
            unsent_.insert(unsent_.end(), begin + skip, begin + piece.iov_len);
        }
    } catch (const std::bad_alloc&) {
        fail(ENOMEM);
    }
}

void FrameCall::advance() noexcept {
    if (state_ != State::pending) return;
    try {
        if (send() && receive()) state_ = State::whole;
    } catch (const std::bad_alloc&) {
        fail(ENOMEM);
    }
}

// Whether all of it is sent.
bool FrameCall::send() {
    while (sent_ < unsent_.size()) {
        const ssize_t more = ::send(socket_, unsent_.data() + sent_, unsent_.size() - sent_, MSG_NOSIGNAL);
        if (more >= 0) {
            sent_ += static_cast<std::size_t>(more);
        } else if (errno != EINTR) {
            if (errno != EAGAIN) fail(errno);
            return false;
        }
    }
    unsent_ = std::vector<std::byte>();  // {} would keep the memory
    return true;
}

// Whether all of it is there.
bool FrameCall::receive() {
    if (room_ == 0) {
        frame_.reset(new std::byte[likely_]);  // not initialised
        room_ = likely_;
    }
    while (size_ == 0 || got_ < size_) {
        const ssize_t more = recv(socket_, frame_.get() + got_, (size_ == 0 ? room_ : size_) - got_, 0);
        if (more == 0) {
            fail(0);
            return false;
        }
        if (more < 0) {
            if (errno == EINTR) continue;
            if (errno != EAGAIN) fail(errno);
            return false;
        }
        got_ += static_cast<std::size_t>(more);
        if (size_ == 0 && got_ >= sizeof(FrameHeader) && !begin()) return false;
    }
    return true;
}

// Whether the header is one of an answer to the request. Then there is room for all of it.
bool FrameCall::begin() {
    FrameHeader header;
    std::memcpy(&header, frame_.get(), sizeof(header));
    const std::uint64_t size = header.size();
    if (!header.fits(columns_) || header.turn != turn_ || size - sizeof(header) > max_bytes_ || got_ > size) {
        fail(0);
        return false;
    }
    size_ = size;
    likely_ = std::clamp(size_ + size_ / kMoreOf, kLeastRoom, kMostRoom);
    // As much as it takes, and not much more: the answer's columns keep all of it.
    if (size_ <= room_ && (room_ <= kLeastRoom || size_ > room_ / 2)) return true;
    std::unique_ptr<std::byte[]> fitting(new std::byte[size_]);
    std::memcpy(fitting.get(), frame_.get(), got_);
    frame_ = std::move(fitting);
    room_ = size_;
    return true;
}

void FrameCall::fail(int error) {
    state_ = State::failed;
    error_ = error;
}

bool FrameCall::quiet() const {
    std::byte one;
    return recv(socket_, &one, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

FrameCall::Answer FrameCall::take() {
    Answer answer;
    std::memcpy(&answer.header, frame_.get(), sizeof(answer.header));
    answer.frame = std::move(frame_);
    room_ = got_ = size_ = 0;
    state_ = State::idle;
    return answer;
}

}  // namespace persia
