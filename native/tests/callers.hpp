// A call over one end of a connection, the other end of which the test plays itself.
#pragma once

#include <fcntl.h>

#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "frames.hpp"
#include "persia/frame_exchange.hpp"

namespace persia {

inline void make_nonblocking(int socket) { fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK); }

inline void ask(FrameCall& call, std::uint16_t turn, const std::vector<Bytes>& columns, bool connected = true) {
    const std::vector<std::span<const std::byte>> views(columns.begin(), columns.end());
    call.ask(turn, views, connected);
}

struct Caller {
    explicit Caller(std::size_t columns = 2, std::uint64_t max_bytes = 8 << 20) : call(ends.theirs(), columns, max_bytes) {
        make_nonblocking(ends.theirs());
    }

    FrameCall::State state() const { return call.state(); }

    Ends ends;
    FrameCall call;
};

// The answer as it came; nothing unless it is whole.
inline Bytes taken(FrameCall& call) {
    if (call.state() != FrameCall::State::whole) return {};
    const FrameCall::Answer answer = call.take();
    return {answer.frame.get(), answer.frame.get() + answer.header.size()};
}

// Until all have ended, one after the other, as an asker does that needs all of them.
inline void exchange_all(std::vector<FrameCall*> calls, double seconds, double awake = 0) {
    while (!calls.empty()) {
        exchange(calls, {}, seconds, awake);
        if (std::erase_if(calls, [](const FrameCall* call) { return call->state() != FrameCall::State::pending; }) == 0) return;
    }
}

inline Bytes as_bytes(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

// So many bytes, no two of which next to each other are the same.
inline Bytes some_bytes(std::size_t size) {
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 251);
    return bytes;
}

}  // namespace persia
