// What a client may do that costs it less than it costs the server, and how often.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "grpc/metadata.hpp"

namespace persia::grpc {

// Of one connection. What it allows grows with time, and with what the client was answered.
//
// Thread safety: for one thread at a time.
class FloodLimits {
  public:
    // least_ping_interval: pings that come more often are counted.
    explicit FloodLimits(std::chrono::milliseconds least_ping_interval)
        : least_ping_interval_(least_ping_interval), began_(Clock::now()) {}

    void on_idle_frame();                     // that has no data of a call
    void on_call_began() { --idle_frames_; }  // whose headers were such a frame
    void on_call_answered() { ++answered_; }
    void on_call_given_up();  // before its answer was sent
    void on_bytes_sent(std::size_t bytes) { bytes_sent_ += bytes; }
    void on_ping();
    void on_far_too_many_headers() { exceed("far more headers than are allowed"); }
    // Clients ping while answers come, to learn how fast the way is: those are not counted.
    void forgive_pings() {
        ping_strikes_ = 0;
        last_ping_.reset();
    }
    // So many frames are to be sent, most of them answers to frames of the client.
    void on_unmade_frames(std::size_t count);

    // What the client does too much of, so that it is to go; empty: nothing.
    const std::string& too_much() const { return too_much_; }

  private:
    std::uint64_t seconds() const;
    void exceed(const char* words) {
        if (too_much_.empty()) too_much_ = words;
    }

    const std::chrono::milliseconds least_ping_interval_;
    const Clock::time_point began_;
    std::uint64_t idle_frames_ = 0, given_up_ = 0, answered_ = 0, bytes_sent_ = 0;
    unsigned ping_strikes_ = 0;
    std::optional<Clock::time_point> last_ping_;
    std::string too_much_;
};

}  // namespace persia::grpc
