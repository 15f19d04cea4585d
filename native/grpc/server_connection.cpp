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
// A client may send so many frames that carry nothing, and so many more a second and for what it has been sent.
constexpr std::uint64_t kIdleFrames = 10'000, kIdleFramesASecond = 1'000, kBytesOfAnIdleFrame = 1'024;
// And give up so many calls, and so many more a second and for those that were answered.
constexpr std::uint64_t kResets = 1'000, kResetsASecond = 200;
// And so many pings in a row without an answer in between: one that measures its way sends some while it reads what stands in
// the buffers on it.
constexpr unsigned kPingStrikes = 30;
// How long a client that has read all may take to close.
constexpr auto kFarewell = std::chrono::seconds(1);

thread_local ServerConnection* corked = nullptr;

std::uint64_t seconds_since(Clock::time_point then) {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - then).count());
}

}  // namespace

Cork::Cork(ServerConnection& connection) : connection_(connection) { corked = &connection; }

Cork::~Cork() {
    corked = nullptr;
    connection_.send_corked();
}

ServerConnection::ServerConnection(std::uint64_t id, ServerShared& shared, std::unique_ptr<Transport> transport,
                                   std::string peer)
    : Http2(Side::server, std::move(transport), shared.limits.http2), id_(id), shared_(shared), peer_(std::move(peer)),
      began_(Clock::now()), idle_since_(began_), last_heard_(began_), last_taken_(began_) {}

ServerConnection::Served ServerConnection::serve() {
    const std::lock_guard lock(mutex_);
    const bool alive = read(kOneTurn) && flush() && !send_away();
    last_heard_ = Clock::now();
    if (!alive) {
        for (auto& [stream, call] : std::exchange(calls_, {})) {
            if (call->ended_) continue;
            shared_.cancelled.fetch_add(1, std::memory_order_relaxed);
            call->end(*this);
            if (call->method_ != nullptr && call->method_->watches_end()) {
                put_event({call, CallEvent::Kind::call_end, {}});
            }
        }
    }
    const bool has_more = alive && has_buffered();
    if (alive && !has_more) shared_.wait_for(*this, wants_to_write());
    return {alive, has_more, std::exchange(events_, {})};
}

void ServerConnection::send_corked() {
    const std::lock_guard lock(mutex_);
    flush_now();
}

// Sends what is in line, unless this thread has more to come.
void ServerConnection::flush_now() {
    if (corked == this) return;
    if (flush() && !send_away() && wants_to_write()) shared_.wait_for(*this, true);
    if (failed()) kill();
}

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
    if (const std::size_t left = unsent(); left == 0 || left != last_unsent_) {
        last_unsent_ = left;
        last_taken_ = now;
    } else if (now - last_taken_ > limits.stuck) {
        return false;
    }
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

std::optional<Clock::time_point> ServerConnection::idle_since() const {
    const std::lock_guard lock(mutex_);
    return open_calls_ == 0 ? std::optional(idle_since_) : std::nullopt;
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

void ServerConnection::end_calls(const Status& status) {
    const std::lock_guard lock(mutex_);
    for (const auto& [stream, call] : calls_) {
        if (!call->ended_) call->put_end(*this, status, {});
    }
    flush_now();
}

void ServerConnection::kill() noexcept { ::shutdown(socket(), SHUT_RDWR); }

// The client does too much of something. While frames are read nothing can be sent: it is told afterwards.
void ServerConnection::ask_for_calm(std::string words) {
    if (too_much_.empty()) too_much_ = std::move(words);
}

// Whether it had to be sent away.
bool ServerConnection::send_away() {
    if (too_much_.empty() || failed()) return false;
    submit_goaway(NGHTTP2_ENHANCE_YOUR_CALM, too_much_);
    flush();
    fail(too_much_);
    return true;
}

void ServerConnection::on_stream_began(std::int32_t stream) {
    greeted_ = true;
    calls_.emplace(stream, std::make_shared<ConnectedCall>(weak_from_this(), stream, shared_.shared_from_this(), peer_));
    ++open_calls_;
}

void ServerConnection::on_header(std::int32_t stream, std::string_view name, std::string_view value) {
    ConnectedCall* call = call_of(stream);
    if (call == nullptr || call->headers_complete_) return;  // trailers of a client have no meaning
    constexpr std::size_t kOverhead = 32;                    // as HTTP/2 counts headers
    call->header_bytes_ += name.size() + value.size() + kOverhead;
    if (call->header_bytes_ > shared_.limits.http2.max_header_bytes) return;
    if (name == ":path") {
        call->info_.path = value;
    } else if (name == ":method") {
        call->http_method_ = value;
    } else if (name == "content-type") {
        call->content_type_ = value;
    } else if (name == "grpc-encoding") {
        call->encoding_ = value;
    } else if (name == "grpc-timeout") {
        call->timeout_ = value;
    } else if (name == "authorization" && shared_.guard) {
        call->authorization_ = value;  // no method sees it
    } else if (!is_reserved(name)) {
        if (auto known = from_header_value(name, value)) call->info_.metadata.emplace_back(name, std::move(*known));
    }
}

void ServerConnection::on_headers_complete(std::int32_t stream, bool /*ended*/) {
    ConnectedCall* call = call_of(stream);
    if (call == nullptr || std::exchange(call->headers_complete_, true)) return;
    const std::string& type = call->content_type_;
    const bool all_read =
        call->header_bytes_ <= shared_.limits.http2.max_header_bytes;  // else what is looked for may be missing
    if (all_read && (call->http_method_ != "POST" || !type.starts_with("application/grpc"))) {
        submit_trailers_only(stream, {{":status", call->http_method_ != "POST" ? "405" : "415"}});
        call->end(*this);
        return;
    }
    if (const auto refusal = call->check(*this)) {
        shared_.refused.fetch_add(1, std::memory_order_relaxed);
        call->put_end(*this, *refusal, {});
    }
}

void ServerConnection::on_data(std::int32_t stream, std::span<const std::byte> bytes) {
    ConnectedCall* call = call_of(stream);
    if (call == nullptr) return;
    while (!bytes.empty() && !call->ended_) {
        bytes = bytes.subspan(call->reader_.feed(bytes));
        if (!call->reader_.error().ok()) {
            shared_.refused.fetch_add(1, std::memory_order_relaxed);
            call->put_end(*this, call->reader_.error(), call->reader_.pushback());
        } else if (call->reader_.complete()) {
            if (call->method_->takes_stream()) {
                put_event({call->shared_from_this(), CallEvent::Kind::message, call->reader_.take()});
            } else if (std::exchange(call->got_message_, true)) {
                call->put_end(*this, {Code::internal, "expected one message of a unary call, got more"}, {});
            } else {
                call->request_ = call->reader_.take();
            }
        }
    }
}

void ServerConnection::on_stream_ended(std::int32_t stream) {
    ConnectedCall* call = call_of(stream);
    if (call == nullptr || call->ended_) return;
    if (call->reader_.within()) {
        call->put_end(*this, {Code::internal, "expected a whole message, got the end of the call within it"}, {});
    } else if (call->method_->takes_stream()) {
        put_event({call->shared_from_this(), CallEvent::Kind::messages_end, {}});
    } else if (!call->got_message_) {
        call->put_end(*this, {Code::internal, "expected one message of a unary call, got none"}, {});
    } else {
        put_event({call->shared_from_this(), CallEvent::Kind::message, std::move(*call->request_)});
        call->request_.reset();
    }
}

// Those of a stream keep their order, whichever thread gives them out: they are in the call's inbox before another one reads
// on.
void ServerConnection::put_event(CallEvent event) {
    const std::shared_ptr<ConnectedCall> call = event.call;
    const CallEvent::Kind kind = event.kind;
    if (!call->method_->takes_stream()) {
        events_.push_back(std::move(event));
    } else if (call->add(std::move(event))) {
        events_.push_back({call, kind, {}});
    } else {
        call->put_end(*this, ConnectedCall::too_many_messages(), {});
    }
}

void ServerConnection::on_stream_closed(std::int32_t stream, std::uint32_t error) {
    const auto found = calls_.find(stream);
    if (found == calls_.end()) return;
    const std::shared_ptr<ConnectedCall> call = std::move(found->second);
    calls_.erase(found);
    if (!call->ended_) {
        shared_.cancelled.fetch_add(1, std::memory_order_relaxed);
        call->end(*this);
        if (error != NGHTTP2_NO_ERROR && ++resets_ > kResets + kResetsASecond * seconds_since(began_) + answered_) {
            ask_for_calm("too many calls were given up");
        }
    }
    if (call->method_ != nullptr && call->method_->watches_end()) {
        put_event({call, CallEvent::Kind::call_end, {}});
    }
}

void ServerConnection::on_goaway(std::int32_t /*last_stream*/, std::uint32_t /*error*/) {}

void ServerConnection::on_ping(bool acknowledged) {
    greeted_ = true;
    if (acknowledged) {
        if (draining_ && !std::exchange(drained_, true)) submit_goaway(NGHTTP2_NO_ERROR, "the server is stopping");
        return;
    }
    const auto now = Clock::now();
    if (last_ping_ && now - *last_ping_ < shared_.limits.least_ping_interval && ++ping_strikes_ > kPingStrikes) {
        return ask_for_calm("too_many_pings");
    }
    last_ping_ = now;
}

void ServerConnection::on_idle_frame() {
    greeted_ = true;
    const std::uint64_t allowed =
        kIdleFrames + kIdleFramesASecond * seconds_since(began_) + sent_messages_bytes_ / kBytesOfAnIdleFrame + 4 * answered_;
    if (++idle_frames_ > allowed) ask_for_calm("too many frames that carry nothing");
}

void ServerConnection::on_data_sent(std::int32_t stream, std::size_t unsent) {
    // Clients ping while answers come, to learn how fast the way is: those are not counted.
    ping_strikes_ = 0;
    last_ping_.reset();
    if (await_room_ == 0) return;
    ConnectedCall* call = call_of(stream);
    if (call != nullptr && call->tell_ && unsent < call->room_below_) call->tell_of_room(*this);
}

std::span<std::byte> ServerConnection::room_of(std::int32_t stream) {
    ConnectedCall* call = call_of(stream);
    return call == nullptr || call->ended_ ? std::span<std::byte>() : call->reader_.room();
}

}  // namespace persia::grpc
