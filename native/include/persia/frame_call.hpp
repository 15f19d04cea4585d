// Requests over one connection, without waiting: frame_exchange.hpp waits for several of them at once.
//
// The interpreter is needed before and after, not between the parts of an answer.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "persia/frame.hpp"

namespace persia {

// One request at a time over a socket that does not block. Thread safety: for one thread at a time.
class FrameCall {
  public:
    using Clock = std::chrono::steady_clock;

    enum class State {
        idle,     // nothing was asked, or the answer was taken
        pending,  // more is to be sent or to come
        whole,    // the answer is there
        failed,   // the connection is of no more use: see error() and start()
    };

    // columns: of an answer, its message included. Throws InvalidInput unless they are 1 to kMaxFrameColumns.
    FrameCall(int socket, std::size_t columns, std::uint64_t max_bytes);

    // Begins a request of these columns, the last of which is the message. connected: whether the socket is, as yet. REQUIRES:
    // 1 to kMaxFrameColumns of them. Throws TooLarge. What is handed in is not used after the return.
    void ask(std::uint16_t turn, std::span<const std::span<const std::byte>> columns, bool connected);

    // Goes on as far as it can.
    void advance() noexcept;

    State state() const { return state_; }
    int socket() const { return socket_; }
    // When the last request began. REQUIRES: there was one.
    Clock::time_point asked() const { return asked_; }
    // Whether the request is not all sent yet.
    bool sends() const { return !unsent_.empty(); }

    // Whether nothing has come that nobody asked for, and the other end is still there. REQUIRES: idle.
    bool quiet() const;

    // REQUIRES: whole. It is idle then.
    struct Answer {
        FrameHeader header;
        std::unique_ptr<std::byte[]> frame;  // the columns follow the header
    };
    Answer take();

    // REQUIRES: failed. What the system says; 0: the other end has closed, or what came is no answer to the request.
    int error() const { return error_; }
    // What has come of the answer, if it is none or not whole: how many bytes, and the first of them, at most a header.
    std::size_t got() const { return got_; }
    std::span<const std::byte> start() const { return {frame_.get(), std::min(got_, sizeof(FrameHeader))}; }

  private:
    bool send();
    bool receive();
    bool begin();
    void fail(int error);

    const int socket_;
    const std::size_t columns_;
    const std::uint64_t max_bytes_;
    State state_ = State::idle;
    Clock::time_point asked_;
    int error_ = 0;
    std::uint16_t turn_ = 0;
    std::vector<std::byte> unsent_;
    std::size_t sent_ = 0;  // of unsent_
    std::unique_ptr<std::byte[]> frame_;
    std::size_t room_ = 0, got_ = 0;  // bytes of frame_
    std::size_t size_ = 0;            // of the answer; 0: not known yet
    std::size_t likely_;              // size of the next answer
};

}  // namespace persia
