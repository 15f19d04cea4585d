#include "grpc/server_connection.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

namespace persia::grpc {

namespace {

// What is read of a connection before others have their turn.
constexpr std::size_t kOneTurn = 1 << 20;
// Messages of one stream that its method has not seen yet.
constexpr std::size_t kMostInbox = 1024;
// A client may send so many frames that carry nothing, and so many more a second and for what it has been sent.
constexpr std::uint64_t kIdleFrames = 10'000, kIdleFramesASecond = 1'000, kBytesOfAnIdleFrame = 1'024;
// And give up so many calls, and so many more a second and for those that were answered.
constexpr std::uint64_t kResets = 1'000, kResetsASecond = 500;
constexpr unsigned kPingStrikes = 2;
// And leave so many frames that answer its own.
constexpr std::size_t kMostUnmade = 20'000;
// Who has to send or to take something takes so much of it at least until it counts as stuck.
constexpr std::size_t kLeastProgress = 16 << 10;
// So many times more headers than it may send ends the connection.
constexpr std::size_t kHeaderBomb = 4;
// Headers of so many bytes are in no budget: there are not many calls. Larger ones are counted by pages.
constexpr std::size_t kFreeHeaderBytes = 2 << 10, kHeaderPage = 4 << 10;

thread_local ServerConnection* corked = nullptr;

// `application/grpc`, and what says more of the same.
bool is_grpc(std::string_view content_type) {
    constexpr std::string_view kType = "application/grpc";
    if (!content_type.starts_with(kType)) return false;
    const auto rest = content_type.substr(kType.size());
    return rest.empty() || rest.front() == '+' || rest.front() == ';';
}

std::uint64_t seconds_since(Clock::time_point then) {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - then).count());
}

}  // namespace

Cork::Cork(ServerConnection& connection) : connection_(connection) { corked = &connection; }

Cork::~Cork() {
    corked = nullptr;
    connection_.send_corked();
}

ServerConnection::ServerConnection(std::uint64_t id, std::shared_ptr<ServerShared> shared, std::unique_ptr<Transport> transport,
                                   std::string peer)
    : Http2(Side::server, std::move(transport), shared->limits.http2), id_(id), shared_(std::move(shared)),
      peer_(std::move(peer)), began_(Clock::now()), idle_since_(began_), last_heard_(began_), last_progress_(began_) {}

ServerConnection::Served ServerConnection::serve() {
    const std::lock_guard lock(mutex_);
    ++turns_;
    const std::uint64_t heard = received();
    const bool alive = read(kOneTurn) && flush() && !send_away();
    if (received() != heard) last_heard_ = Clock::now();
    for (auto& call : std::exchange(begun_, {})) {
        if (!call->given_ && !call->ended_) events_.push_back({std::move(call), CallEvent::Kind::begun, {}});
    }
    if (!alive) {
        for (auto& [stream, call] : std::exchange(calls_, {})) {
            if (!call->ended_) shared_->cancelled.fetch_add(1, std::memory_order_relaxed);
            call->end(*this);
            if (call->method_ != nullptr && call->method_->watches_end()) give(*call, CallEvent::Kind::call_end);
        }
    }
    const bool has_more = alive && has_buffered();
    // Before the methods work: another thread may read on meanwhile. With the lock, so that nobody who has something to send in
    // this moment is forgotten.
    if (alive && !has_more) shared_->wait_for(*this, wants_to_write());
    return {alive, has_more, std::exchange(events_, {})};
}

// Has it told to the method when this turn is over, or what is already being told to it.
void ServerConnection::give(ConnectedCall& call, CallEvent::Kind kind, ReceivedMessage message) {
    if (kind != CallEvent::Kind::call_end && !call.ended_ && !std::exchange(call.given_, true)) ++given_calls_;
    CallEvent event{call.shared_from_this(), kind, std::move(message)};
    if (!call.method_->takes_stream()) return events_.push_back(std::move(event));
    const auto is_first = call.add(std::move(event), turns_);
    if (!is_first) {
        call.put_end(*this,
                     {Code::resource_exhausted,
                      "expected at most " + std::to_string(kMostInbox) + " messages that are not answered yet, got one more"},
                     {});
    } else if (*is_first) {
        events_.push_back({call.shared_from_this(), CallEvent::Kind::inbox, {}});
    }
}

void ServerConnection::send_corked() {
    const std::lock_guard lock(mutex_);
    flush_now();
}

// Sends what is in line, unless this thread has more to come.
void ServerConnection::flush_now() {
    if (corked == this) return;
    // An end that a method is to hear of is told by whoever reads.
    if (flush() && !send_away() && (wants_to_write() || !events_.empty())) shared_->wait_for(*this, true);
    if (failed()) kill();
}

// How much of what it was sent the client has taken.
std::size_t ServerConnection::taken() const { return sent_messages_bytes_ - std::min(sent_messages_bytes_, unsent()); }

bool ServerConnection::look_after(Clock::time_point now) {
    const std::lock_guard lock(mutex_);
    const ServerLimits& limits = shared_->limits;
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
    bool any = false;
    for (const auto& [stream, call] : calls_) {
        if (call->ended_ || call->is_whole()) continue;
        const std::size_t got = call->reader_.got();
        auto& last = call->last_request_progress_;
        if (!last || got < call->request_progress_ || got >= call->request_progress_ + kLeastProgress) {
            call->request_progress_ = got;
            last = now;
        } else if (now - *last > shared_->limits.stuck) {
            const auto patience = std::chrono::duration_cast<std::chrono::seconds>(shared_->limits.stuck);
            call->put_end(
                *this,
                {Code::deadline_exceeded, "expected the rest of a message within " + std::to_string(patience.count()) +
                                              " s, got " + std::to_string(got) + " bytes of it"},
                {});
            any = true;
        }
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

// The client does too much of something. While frames are read nothing can be sent: it is told afterwards.
void ServerConnection::ask_for_calm(std::string words) {
    if (too_much_.empty()) too_much_ = std::move(words);
}

// Whether it had to be sent away.
bool ServerConnection::send_away() {
    if (unmade() > kMostUnmade) ask_for_calm("too much is said that is not read");
    if (too_much_.empty() || failed()) return false;
    submit_goaway(NGHTTP2_ENHANCE_YOUR_CALM, too_much_);
    flush();
    fail(too_much_);
    return true;
}

ConnectedCall* ServerConnection::call_of(std::int32_t stream) {
    const auto found = calls_.find(stream);
    return found == calls_.end() ? nullptr : found->second.get();
}

void ServerConnection::on_stream_began(std::int32_t stream) {
    --idle_frames_;  // its headers are not for nothing
    calls_.emplace(stream, std::make_shared<ConnectedCall>(weak_from_this(), stream, shared_, peer_));
    ++open_calls_;
}

void ServerConnection::on_header(std::int32_t stream, std::string_view name, std::string_view value) {
    ConnectedCall* call = call_of(stream);
    if (call == nullptr || call->headers_complete_) return;  // trailers of a client have no meaning
    constexpr std::size_t kOverhead = 32;                    // as HTTP/2 counts headers
    if (!call->keep_header(name.size() + value.size() + kOverhead)) {
        // A frame may name headers of the table so often that reading them is all that we do.
        if (call->header_bytes_ > kHeaderBomb * shared_->limits.http2.max_header_bytes)
            fail("far more headers than are allowed");
        return;
    }
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
    } else if (name == "authorization" && shared_->guard) {
        call->authorization_ = value;  // no method sees it
    } else if (!is_reserved(name)) {
        if (auto known = from_header_value(name, value)) call->info_.metadata.emplace_back(name, std::move(*known));
    }
}

void ServerConnection::on_headers_complete(std::int32_t stream, bool /*ended*/) {
    ConnectedCall* call = call_of(stream);
    if (call == nullptr || std::exchange(call->headers_complete_, true)) return;
    if (call->http_method_ != "POST" || !is_grpc(call->content_type_)) {
        submit_trailers_only(stream, {{":status", call->http_method_ != "POST" ? "405" : "415"}});
        call->end(*this);
        return;
    }
    if (const auto refusal = call->check(*this)) {
        shared_->refused.fetch_add(1, std::memory_order_relaxed);
        call->put_end(*this, *refusal, {});
    } else if (call->info_.deadline) {
        begun_.push_back(call->shared_from_this());
    }
}

void ServerConnection::on_data(std::int32_t stream, std::span<const std::byte> bytes) {
    ConnectedCall* call = call_of(stream);
    if (call == nullptr) return;
    while (!bytes.empty() && !call->ended_) {
        bytes = bytes.subspan(call->reader_.feed(bytes));
        if (!call->reader_.error().ok()) {
            shared_->refused.fetch_add(1, std::memory_order_relaxed);
            call->put_end(*this, call->reader_.error(), {});
        } else if (call->reader_.complete()) {
            if (call->method_->takes_stream()) {
                give(*call, CallEvent::Kind::message, call->reader_.take());
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
    call->got_end_ = true;
    if (call->reader_.within()) {
        call->put_end(*this, {Code::internal, "expected a whole message, got the end of the call within it"}, {});
    } else if (call->method_->takes_stream()) {
        give(*call, CallEvent::Kind::messages_end);
    } else if (!call->got_message_) {
        call->put_end(*this, {Code::internal, "expected one message of a unary call, got none"}, {});
    } else {
        give(*call, CallEvent::Kind::message, std::move(*call->request_));
        call->request_.reset();
    }
}

void ServerConnection::on_stream_closed(std::int32_t stream, std::uint32_t error) {
    const auto found = calls_.find(stream);
    if (found == calls_.end()) return;
    const std::shared_ptr<ConnectedCall> call = std::move(found->second);
    calls_.erase(found);
    if (!call->ended_) {
        shared_->cancelled.fetch_add(1, std::memory_order_relaxed);
        call->end(*this);
    }
    if (error == NGHTTP2_NO_ERROR) {
        ++answered_;
    } else if (++resets_ > kResets + kResetsASecond * seconds_since(began_) + answered_) {
        ask_for_calm("too many calls were given up");
    }
    if (call->method_ != nullptr && call->method_->watches_end()) give(*call, CallEvent::Kind::call_end);
}

void ServerConnection::on_goaway(std::int32_t /*last_stream*/, std::uint32_t /*error*/) {}

void ServerConnection::on_ping(bool acknowledged) {
    if (acknowledged) {
        if (draining_ && !std::exchange(drained_, true)) submit_goaway(NGHTTP2_NO_ERROR, "the server is stopping");
        return;
    }
    // Clients ping while answers come, to learn how fast the way is: those are not counted.
    const auto now = Clock::now();
    if (const std::size_t so_far = taken(); so_far != std::exchange(taken_at_ping_, so_far)) {
        ping_strikes_ = 0;
        last_ping_.reset();
    }
    if (last_ping_ && now - *last_ping_ < shared_->limits.least_ping_interval && ++ping_strikes_ > kPingStrikes) {
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

std::span<std::byte> ServerConnection::room_of(std::int32_t stream) {
    ConnectedCall* call = call_of(stream);
    return call == nullptr || call->ended_ ? std::span<std::byte>() : call->reader_.room();
}

ConnectedCall::ConnectedCall(std::weak_ptr<ServerConnection> connection, std::int32_t stream,
                             std::shared_ptr<ServerShared> shared, std::string peer)
    : connection_(std::move(connection)), stream_(stream), shared_(std::move(shared)),
      reader_(shared_->limits.max_request_bytes, shared_->budget), header_memory_(shared_->budget) {
    info_.peer = std::move(peer);
    info_.arrived = Clock::now();
    shared_->calls.fetch_add(1, std::memory_order_relaxed);
}

ConnectedCall::~ConnectedCall() { shared_->calls.fetch_sub(1, std::memory_order_relaxed); }

// Whether a header of so many bytes may be kept. If not, check() refuses the call.
bool ConnectedCall::keep_header(std::size_t bytes) {
    header_bytes_ += bytes;
    if (header_bytes_ > shared_->limits.http2.max_header_bytes || !has_header_memory_) return false;
    if (header_bytes_ > kFreeHeaderBytes) {
        has_header_memory_ = header_memory_.grow_to((header_bytes_ + kHeaderPage - 1) / kHeaderPage * kHeaderPage);
    }
    return has_header_memory_;
}

// Whether the call may go on, by its headers. Sets what is known from them.
std::optional<Status> ConnectedCall::check(const ServerConnection& connection) {
    const ServerLimits& limits = shared_->limits;
    if (header_bytes_ > limits.http2.max_header_bytes) {
        return Status(Code::resource_exhausted, "expected at most " + std::to_string(limits.http2.max_header_bytes) +
                                                    " bytes of headers, got " + std::to_string(header_bytes_));
    }
    if (!has_header_memory_) return Status(Code::resource_exhausted, "expected memory for the headers of a call, got none");
    if (shared_->guard) {
        auto identity = shared_->guard->identity_of(authorization_, connection.transport().peer_name());
        authorization_.clear();
        if (!identity) {
            return Status(Code::unauthenticated, "expected a token that this server knows, or a certificate, got none such");
        }
        info_.identity = std::move(*identity);
    }
    const auto found = shared_->methods.find(info_.path);
    if (found == shared_->methods.end())
        return Status(Code::unimplemented, "expected a method of this server, got " + info_.path);
    method_ = found->second.get();
    if (!timeout_.empty()) {
        const auto timeout = parse_timeout(timeout_);
        if (!timeout) return Status(Code::internal, "expected a grpc-timeout such as 100m, got " + timeout_);
        info_.deadline = info_.arrived + *timeout;
    }
    if (encoding_ == "gzip") {
        reader_.accept_gzip();
    } else if (!encoding_.empty() && encoding_ != "identity") {
        return Status(Code::unimplemented, "expected a grpc-encoding of identity or gzip, got " + encoding_);
    }
    if (shared_->calls.load(std::memory_order_relaxed) > limits.max_calls) {
        return Status(Code::resource_exhausted,
                      "expected at most " + std::to_string(limits.max_calls) + " calls under way, got one more");
    }
    return std::nullopt;
}

bool ConnectedCall::has_ended() const { return ended_ || (info_.deadline && Clock::now() >= *info_.deadline); }

void ConnectedCall::put_headers(ServerConnection& connection) {
    if (std::exchange(headers_sent_, true)) return;
    static const Headers headers = {
        {":status", "200"}, {"content-type", "application/grpc"}, {"grpc-accept-encoding", "identity,gzip"}};
    connection.submit_headers(stream_, headers);
}

void ConnectedCall::put_end(ServerConnection& connection, const Status& status, const Metadata& trailers) {
    Headers headers;
    if (!headers_sent_) headers = {{":status", "200"}, {"content-type", "application/grpc"}};
    headers.emplace_back("grpc-status", std::to_string(static_cast<int>(status.code)));
    if (!status.message.empty()) {
        const auto told = std::string_view(status.message).substr(0, kMaxStatusBytes);
        headers.emplace_back("grpc-message", percent_encoded(told));
    }
    if (status.code == Code::unimplemented && !encoding_.empty()) headers.emplace_back("grpc-accept-encoding", "identity,gzip");
    for (const auto& [key, value] : trailers) headers.emplace_back(key, to_header_value(key, value));
    if (headers_sent_) {
        connection.submit_trailers(stream_, headers);
    } else {
        connection.submit_trailers_only(stream_, headers);
    }
    end(connection);
}

void ConnectedCall::end(ServerConnection& connection) {
    if (ended_.exchange(true)) return;
    shared_->finished.fetch_add(1, std::memory_order_relaxed);
    if (given_) --connection.given_calls_;
    connection.ping_strikes_ = 0;
    connection.last_ping_.reset();
    if (--connection.open_calls_ == 0) connection.idle_since_ = Clock::now();
    request_.reset();
}

void ConnectedCall::send(OutgoingMessage message) {
    if (message.size() > shared_->limits.max_answer_bytes) return refuse_answer(message.size());
    const auto connection = connection_.lock();
    if (!connection) return;
    const std::lock_guard lock(connection->mutex_);
    if (ended_) return;
    put_headers(*connection);
    connection->sent_messages_bytes_ += message.size();
    connection->submit_message(stream_, message);
    connection->flush_now();
}

void ConnectedCall::reply(OutgoingMessage message) {
    if (message.size() > shared_->limits.max_answer_bytes) return refuse_answer(message.size());
    const auto connection = connection_.lock();
    if (!connection) return;
    const std::lock_guard lock(connection->mutex_);
    if (ended_) return;
    put_headers(*connection);
    connection->sent_messages_bytes_ += message.size();
    connection->submit_message(stream_, message);
    put_end(*connection, {}, {});
    connection->flush_now();
}

void ConnectedCall::refuse_answer(std::size_t bytes) {
    finish({Code::resource_exhausted, "expected an answer of at most " + std::to_string(shared_->limits.max_answer_bytes) +
                                          " bytes, got one of " + std::to_string(bytes)},
           {});
}

void ConnectedCall::finish(Status status, Metadata trailers) {
    const auto connection = connection_.lock();
    if (!connection) return;
    const std::lock_guard lock(connection->mutex_);
    if (ended_) return;
    put_end(*connection, status, trailers);
    connection->flush_now();
}

void ConnectedCall::expire() {
    if (ended_) return;
    shared_->expired.fetch_add(1, std::memory_order_relaxed);
    finish({Code::deadline_exceeded, "expected an answer before the deadline, got none in time"}, {});
}

void ConnectedCall::give_up() noexcept {
    if (const auto connection = connection_.lock()) connection->kill();
}

std::size_t ConnectedCall::unsent() const {
    const auto connection = connection_.lock();
    if (!connection) return 0;
    const std::lock_guard lock(connection->mutex_);
    return connection->unsent(stream_);
}

bool ConnectedCall::reserve(Reservation& reservation, std::size_t bytes) {
    if (!reservation.bytes()) reservation = Reservation(shared_->budget);
    return reservation.grow_to(bytes);
}

// What came in one turn is taken as long as there was room before it.
std::optional<bool> ConnectedCall::add(CallEvent event, std::uint64_t turn) {
    const std::lock_guard lock(inbox_mutex_);
    if (std::exchange(last_turn_, turn) != turn) inbox_full_ = inbox_.size() >= kMostInbox;
    if (inbox_full_ && event.kind == CallEvent::Kind::message) return std::nullopt;
    inbox_.push_back(std::move(event));
    return !std::exchange(handing_out_, true);
}

std::optional<CallEvent> ConnectedCall::next() {
    const std::lock_guard lock(inbox_mutex_);
    if (inbox_.empty()) {
        handing_out_ = false;
        return std::nullopt;
    }
    CallEvent event = std::move(inbox_.front());
    inbox_.pop_front();
    return event;
}

}  // namespace persia::grpc
