#include "grpc/flood_limits.hpp"

namespace persia::grpc {

namespace {

// A client may send so many frames that carry nothing, and so many more a second, for what it has been sent, and for each call
// that was answered.
constexpr std::uint64_t kIdleFrames = 10'000, kIdleFramesASecond = 1'000, kBytesOfAnIdleFrame = 1'024, kIdleFramesOfACall = 4;
// And give up so many calls, and so many more a second and for those that were answered.
constexpr std::uint64_t kGivenUp = 1'000, kGivenUpASecond = 200;
// And so many pings in a row without an answer in between: one that measures its way sends some while it reads what stands in
// the buffers on it.
constexpr unsigned kPingStrikes = 30;
// And leave so many frames that answer its own.
constexpr std::size_t kUnmade = 20'000;

}  // namespace

std::uint64_t FloodLimits::seconds() const {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - began_).count());
}

void FloodLimits::on_idle_frame() {
    const std::uint64_t without_time = kIdleFrames + bytes_sent_ / kBytesOfAnIdleFrame + kIdleFramesOfACall * answered_;
    if (++idle_frames_ <= without_time) return;  // and no look at the clock
    if (idle_frames_ > without_time + kIdleFramesASecond * seconds()) exceed("too many frames that carry nothing");
}

void FloodLimits::on_call_given_up() {
    if (++given_up_ <= kGivenUp + answered_) return;
    if (given_up_ > kGivenUp + answered_ + kGivenUpASecond * seconds()) exceed("too many calls were given up");
}

void FloodLimits::on_ping() {
    const auto now = Clock::now();
    if (last_ping_ && now - *last_ping_ < least_ping_interval_ && ++ping_strikes_ > kPingStrikes) exceed("too_many_pings");
    last_ping_ = now;
}

void FloodLimits::on_unmade_frames(std::size_t count) {
    if (count > kUnmade) exceed("too much is said that is not read");
}

}  // namespace persia::grpc
