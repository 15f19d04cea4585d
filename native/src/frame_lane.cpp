#include "persia/frame_lane.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <limits>
#include <new>
#include <system_error>

#include "persia/error.hpp"
#include "persia/shard_request.hpp"

namespace persia {

namespace {

constexpr std::size_t kRequestColumns = 5;  // parts, signs, sum_counts, sum_samples, and the message
constexpr std::size_t kAnswerColumns = 2;   // numbers, and the message
// Room for most requests; and as much memory is kept from one request to the next, where it is warm. There may be a thousand
// connections, so it is not more.
constexpr std::size_t kKept = 64 << 10;
// Who announces more than this is served elsewhere, where memory is taken only as its bytes come.
constexpr std::uint64_t kMaxRequest = 16 << 20;

using Clock = std::chrono::steady_clock;

double seconds_of(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

[[noreturn]] void fail(int error) { throw IoError("a connection", error, std::system_category().message(error)); }

std::byte* put_tagged(std::byte* to, unsigned tag, std::uint64_t value) {
    if (value == 0) return to;
    *to++ = static_cast<std::byte>(tag);
    for (; value > 0x7f; value >>= 7) *to++ = static_cast<std::byte>(value | 0x80);
    *to++ = static_cast<std::byte>(value);
    return to;
}

std::byte* put_varint(std::byte* to, unsigned field, std::uint64_t value) { return put_tagged(to, field << 3, value); }

// What comes before so many bytes of a field.
std::byte* put_length(std::byte* to, unsigned field, std::uint64_t bytes) { return put_tagged(to, field << 3 | 2, bytes); }

std::byte* put_fixed64(std::byte* to, unsigned field, std::uint64_t value) {
    if (value == 0) return to;
    *to++ = static_cast<std::byte>(field << 3 | 1);
    std::memcpy(to, &value, sizeof(value));
    return to + sizeof(value);
}

// A LookupResponse without its numbers, and without the bytes of the misses by part, which must follow it.
class Message {
  public:
    Message(std::uint64_t version, const Misses& misses, const ShardAnswers& answers, std::size_t bytes_of_misses) {
        std::byte* end = put_varint(bytes_, 3, version);
        end = put_varint(end, 4, misses.absent);
        end = put_varint(end, 5, misses.wrong_dim);
        end = put_fixed64(end, 7, answers.start());
        end = put_fixed64(end, 9, answers.checkpoint());
        size_ = static_cast<std::size_t>(put_length(end, 8, bytes_of_misses) - bytes_);
    }

    std::span<std::byte> bytes() { return {bytes_, size_}; }

  private:
    std::byte bytes_[4 * 11 + 2 * 9];
    std::size_t size_;
};

template <class T>
bool column_of(const std::byte*& at, std::uint32_t bytes, std::span<const T>& column) {
    column = {reinterpret_cast<const T*>(at), bytes / sizeof(T)};
    at += bytes;
    return bytes % sizeof(T) == 0;
}

void send_all(int socket, std::span<iovec> pieces) {
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = pieces.size();
    while (message.msg_iovlen != 0) {
        const ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR) continue;
            fail(errno);
        }
        auto left = static_cast<std::size_t>(sent);
        while (message.msg_iovlen != 0 && left >= message.msg_iov->iov_len) {
            left -= message.msg_iov->iov_len;
            ++message.msg_iov;
            --message.msg_iovlen;
        }
        if (message.msg_iovlen == 0) return;
        message.msg_iov->iov_base = static_cast<std::byte*>(message.msg_iov->iov_base) + left;
        message.msg_iov->iov_len -= left;
    }
}

}  // namespace

void FrameLane::Memory::hold(std::size_t needed, std::size_t used) {
    if (needed <= size) return;
    std::unique_ptr<std::byte[]> more(new std::byte[needed]);  // not initialised
    if (used != 0) std::memcpy(more.get(), bytes.get(), used);
    bytes = std::move(more);
    size = needed;
}

void FrameLane::Memory::give_back() {
    if (size > kKept) *this = {};
}

FrameLane::FrameLane(ShardAnswers& answers) : answers_(answers), waits_since_(seconds_of(Clock::now().time_since_epoch())) {}

std::span<const std::byte> FrameLane::serve(int socket) {
    for (;;) {
        waits_since_ = seconds_of(Clock::now().time_since_epoch());
        request_.give_back();
        numbers_.give_back();
        if (misses_.capacity() * sizeof(RunMisses) > kKept) misses_ = {};
        request_.hold(kKept, 0);
        std::size_t got = 0;
        if (!receive(socket, got, sizeof(FrameHeader), kKept)) return {};
        try {
            FrameHeader header;
            std::memcpy(&header, request_.bytes.get(), sizeof(header));
            const std::uint64_t size = header.size();
            if (header.fits(kRequestColumns) && size <= kMaxRequest && got <= size) {
                request_.hold(size, got);
                if (!receive(socket, got, size, size)) return {};
                waits_since_ = std::numeric_limits<double>::infinity();
                if (answer(socket, header)) continue;
            }
        } catch (const std::bad_alloc&) {
            // Who looks at it next says so.
        }
        waits_since_ = std::numeric_limits<double>::infinity();
        return {request_.bytes.get(), got};
    }
}

bool FrameLane::receive(int socket, std::size_t& got, std::size_t least, std::size_t most) {
    const int flags = least == most ? MSG_WAITALL : 0;
    while (got < least) {
        const ssize_t more = recv(socket, request_.bytes.get() + got, most - got, flags);
        if (more == 0) return false;
        if (more > 0) {
            got += static_cast<std::size_t>(more);
        } else if (errno != EINTR && !(errno == EAGAIN && got == 0)) {  // nothing need come, but what has begun must go on
            fail(errno);
        }
    }
    return true;
}

bool FrameLane::answer(int socket, const FrameHeader& header) {
    const Table* table = answers_.table();
    if (table == nullptr) return false;
    const Clock::time_point began = Clock::now();
    const std::byte* at = request_.bytes.get() + sizeof(header);
    RequestView request;
    std::span<const char> message;
    const bool whole = column_of(at, header.lengths[0], request.parts) && column_of(at, header.lengths[1], request.signs) &&
                       column_of(at, header.lengths[2], request.sum_counts) &&
                       column_of(at, header.lengths[3], request.sum_samples) && column_of(at, header.lengths[4], message);
    if (!whole || !std::ranges::equal(message, answers_.request())) return false;
    try {
        check_request(request, answers_.max_numbers());
        numbers_.hold(request.answer_size() * sizeof(float), 0);
    } catch (const Error&) {
        return false;  // who looks at it next says why
    }
    FrameHeader reply;
    std::uint64_t version = 0;
    Misses misses;
    {
        const auto snapshot = table->pin();  // not held until a slow peer has taken its answer
        version = snapshot->version();
        misses = persia::answer(*snapshot, request, reinterpret_cast<float*>(numbers_.bytes.get()), misses_);
    }
    answers_.count(request.parts, misses, misses_);
    answers_.took(seconds_of(Clock::now() - began));
    const std::span<std::byte> by_part = std::as_writable_bytes(std::span(misses_));
    Message words(version, misses, answers_, by_part.size());
    reply.columns = kAnswerColumns;
    reply.turn = header.turn;
    reply.lengths[0] = static_cast<std::uint32_t>(request.answer_size() * sizeof(float));
    reply.lengths[1] = static_cast<std::uint32_t>(words.bytes().size() + by_part.size());
    iovec pieces[] = {{&reply, sizeof(reply)},
                      {numbers_.bytes.get(), reply.lengths[0]},
                      {words.bytes().data(), words.bytes().size()},
                      {by_part.data(), by_part.size()}};
    send_all(socket, pieces);
    return true;
}

}  // namespace persia
