#include "grpc/server_connection.hpp"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

namespace persia::grpc {

namespace {

// What is read of a connection before others have their turn.
constexpr std::size_t kOneTurn = 1 << 20;
// Who has something to take takes so much of it at least, until it counts as stuck.
constexpr std::size_t kLeastProgress = 16 << 10;
// How long a client that has read all may take to close.
constexpr auto kFarewell = std::chrono::seconds(1);

thread_local ServerConnection* corked = nullptr;

}  // namespace

Cork::Cork(ServerConnection& connection) : connection_(connection) { corked = &connection; }

Cork::~Cork() {
    corked = nullptr;
    connection_.send_corked();
}

ServerConnection::ServerConnection(std::uint64_t id, ServerShared& shared, std::unique_ptr<Transport> transport,
                                   std::string peer)
    : Http2(Side::server, std::move(transport), shared.limits.http2), id_(id), shared_(shared), peer_(std::move(peer)),
      began_(Clock::now()), flood_limits_(shared.limits.least_ping_interval), idle_since_(began_), last_heard_(began_),
      last_progress_(began_) {}

ServerConnection::Served ServerConnection::serve() {
    const std::lock_guard lock(mutex_);
    ++turns_;
    frames_of_turn_ = 0;
    const std::uint64_t heard = received();
    const bool alive = read(kOneTurn) && flush() && !send_away();
    if (received() != heard) last_heard_ = Clock::now();
    for (const auto& call : std::exchange(begun_, {})) {
        if (!call->given_ && !call->ended_) shared_.watch_deadline(call);  // its message may never come
    }
    if (!alive) {
        for (auto& [stream, call] : std::exchange(calls_, {})) {
            if (!call->ended_) shared_.cancelled.fetch_add(1, std::memory_order_relaxed);
            call->end(*this);
            if (call->method_ != nullptr && call->method_->watches_end()) {
                put_event({call, CallEvent::Kind::call_end, {}});
            }
        }
    }
    const bool has_more = alive && has_buffered();
    if (alive && !has_more) shared_.wait_for(*this, wants_to_write());
    const bool is_refused = !alive && !greeted_ && failed() && !failure().empty();
    return {alive, has_more, std::exchange(events_, {}), is_refused ? peer_ + ": " + failure() : std::string()};
}

void ServerConnection::send_corked() {
    const std::lock_guard lock(mutex_);
    flush_now();
}

// Sends what is in line, unless this thread has more to come.
void ServerConnection::flush_now() {
    if (corked == this) return;
    // An end that a method is to hear of is told by whoever reads.
    if (flush() && !send_away() && (wants_to_write() || !events_.empty())) shared_.wait_for(*this, true);
    if (failed()) kill();
}

// How much of what it was sent the client has taken.
std::size_t ServerConnection::taken() const { return messages_bytes_ - std::min(messages_bytes_, unsent()); }

bool ServerConnection::look_after(Clock::time_point now) {
    const std::lock_guard lock(mutex_);
    const ServerLimits& limits = shared_.limits;
    if (has_said_all()) {
        // As long as it reads, however slowly. One that does not is the system's to give up.
        int left = 0;
        if (!said_all_since_ || (ioctl(socket(), SIOCOUTQ, &left) == 0 && left > 0)) said_all_since_ = now;
        return now - *said_all_since_ < kFarewell;
    }
    if (!greeted_) return now - began_ < limits.handshake;
    if (const std::size_t so_far = taken(); unsent() == 0 || so_far >= progress_ + kLeastProgress) {
        progress_ = so_far;
        last_progress_ = now;
    } else if (now - last_progress_ > limits.stuck) {
        return false;
    }
    look_after_requests(now);
    if (open_calls_ == 0) {
        pinged_.reset();
        return true;
    }
    if (pinged_ && last_heard_ > *pinged_) pinged_.reset();
    if (pinged_) return now - *pinged_ < limits.keepalive_patience;
    if (now - last_heard_ > limits.keepalive) {
        pinged_ = now;
        submit_ping();
        flush_now();
    }
    return !failed();
}

// Ends calls whose requests do not come.
void ServerConnection::look_after_requests(Clock::time_point now) {
    const std::chrono::seconds patience = shared_.limits.stuck;
    bool any = false;
    for (const auto& [stream, call] : calls_) {
        if (!call->is_stuck(now, patience)) continue;
        any = true;
        call->put_end(*this,
                      {Code::deadline_exceeded, "expected the rest of a message within " + std::to_string(patience.count()) +
                                                    " s, got " + std::to_string(call->reader_.got()) + " bytes of it"},
                      {});
    }
    if (any) flush_now();
}

std::optional<ServerConnection::Idleness> ServerConnection::idleness() const {
    const std::lock_guard lock(mutex_);
    if (given_calls_ != 0) return std::nullopt;
    return Idleness{open_calls_ != 0, idle_since_};
}

void ServerConnection::begin_drain() {
    const std::lock_guard lock(mutex_);
    if (std::exchange(draining_, true)) return;
    submit_shutdown_notice();
    submit_ping();  // which is answered when the client has heard of it
    flush_now();
}

void ServerConnection::finish_drain() {
    const std::lock_guard lock(mutex_);
    if (std::exchange(drained_, true)) return;
    submit_goaway(NGHTTP2_NO_ERROR, "the server is stopping");
    flush_now();
}

void ServerConnection::end(const Status& status) {
    const std::lock_guard lock(mutex_);
    for (const auto& [stream, call] : calls_) {
        if (!call->ended_) call->put_end(*this, status, {});
    }
    flush_now();
    fail(status.message);
    kill();
}

void ServerConnection::kill() noexcept { ::shutdown(socket(), SHUT_RDWR); }

// Whether it had to be sent away, as it does too much of something. While frames are read it cannot be told.
bool ServerConnection::send_away() {
    flood_limits_.on_unmade_frames(unmade());
    const std::string& too_much = flood_limits_.too_much();
    if (too_much.empty() || failed()) return false;
    submit_goaway(NGHTTP2_ENHANCE_YOUR_CALM, too_much);
    flush();
    fail(too_much);
    return true;
}

}  // namespace persia::grpc
