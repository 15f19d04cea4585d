#include <algorithm>
#include <utility>

#include "grpc/server_connection.hpp"

namespace persia::grpc {

namespace {

// Messages of one stream that its method has not seen yet.
constexpr std::size_t kMostInbox = 1024;
// Headers of so many bytes are in no budget: there are not many calls. Larger ones are counted by pages.
constexpr std::size_t kFreeHeaderBytes = 2 << 10, kHeaderPage = 4 << 10;
// Who has to send something sends so much of it at least, until it counts as stuck.
constexpr std::size_t kLeastProgress = 16 << 10;

}  // namespace

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
    if (!has_all_headers()) return false;
    if (header_bytes_ > kFreeHeaderBytes) {
        has_header_memory_ = header_memory_.grow_to((header_bytes_ + kHeaderPage - 1) / kHeaderPage * kHeaderPage);
    }
    return has_header_memory_;
}

bool ConnectedCall::has_all_headers() const {
    return has_header_memory_ && header_bytes_ <= shared_->limits.http2.max_header_bytes;
}

// Whether the client owes nothing: a stream need not go on.
bool ConnectedCall::is_whole() const {
    return got_end_ || (method_ != nullptr && method_->takes_stream() && !reader_.within());
}

// Whether the client owes the rest of a message and has sent too little of it for so long. To be asked again and again.
bool ConnectedCall::is_stuck(Clock::time_point now, std::chrono::seconds patience) {
    if (ended_ || is_whole()) return false;
    const std::size_t got = reader_.got();
    if (!last_progress_ || got < progress_ || got >= progress_ + kLeastProgress) {
        progress_ = got;
        last_progress_ = now;
    }
    return now - *last_progress_ > patience;
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
        if (authorizations_ > 1) return Status(Code::invalid_argument, "expected one header 'authorization', got several");
        const std::string certificate = connection.transport().peer_name();
        const std::string authorization = std::exchange(authorization_, {});
        auto identity = shared_->guard->identity_of(authorization, certificate);
        if (!identity) return shared_->guard->refusal(authorization, certificate);
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

bool ConnectedCall::has_ended() const {
    return ended_.load(std::memory_order_relaxed) || (info_.deadline && Clock::now() >= *info_.deadline);
}

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
    for (const Metadata* all : {&std::as_const(trailers_), &trailers}) {
        for (const auto& [key, value] : *all) headers.emplace_back(key, to_header_value(key, value));
    }
    if (headers_sent_) {
        connection.submit_trailers(stream_, headers);
    } else {
        connection.submit_trailers_only(stream_, headers);
    }
    if (shared_->observer && !ended_) shared_->observer->on_end(info_, status.code, trailers_);
    end(connection);
}

void ConnectedCall::end(ServerConnection& connection) {
    if (ended_.exchange(true)) return;
    shared_->finished.fetch_add(1, std::memory_order_relaxed);
    if (given_) --connection.given_calls_;
    connection.flood_limits_.forgive_pings();
    if (--connection.open_calls_ == 0) connection.idle_since_ = Clock::now();
    request_.reset();
    if (tell_) tell_of_room(connection);
}

void ConnectedCall::send(OutgoingMessage message) { put_message(message, false); }

void ConnectedCall::reply(OutgoingMessage message) { put_message(message, true); }

void ConnectedCall::put_message(const OutgoingMessage& message, bool last) {
    const std::size_t most = shared_->limits.max_answer_bytes;
    if (message.size() > most) {
        return finish({Code::resource_exhausted, "expected an answer of at most " + std::to_string(most) +
                                                     " bytes, got one of " + std::to_string(message.size())},
                      {});
    }
    const auto connection = connection_.lock();
    if (!connection) return;
    const std::lock_guard lock(connection->mutex_);
    if (ended_ || end_if_late(*connection)) return;
    put_headers(*connection);
    connection->messages_bytes_ += message.size();
    connection->flood_limits_.on_bytes_sent(message.size());
    connection->submit_message(stream_, message);
    if (last) put_end(*connection, {}, {});
    connection->flush_now();
}

void ConnectedCall::add_trailer(std::string key, std::string value) {
    const auto connection = connection_.lock();
    if (!connection) return;
    const std::lock_guard lock(connection->mutex_);
    trailers_.emplace_back(std::move(key), std::move(value));
}

void ConnectedCall::finish(Status status, Metadata trailers) {
    const auto connection = connection_.lock();
    if (!connection) return;
    const std::lock_guard lock(connection->mutex_);
    if (ended_ || (status.ok() && end_if_late(*connection))) return;
    put_end(*connection, status, trailers);
    connection->flush_now();
}

void ConnectedCall::expire() {
    const auto connection = connection_.lock();
    if (!connection) return;
    const std::lock_guard lock(connection->mutex_);
    if (!ended_) end_if_late(*connection);
}

// An answer that comes after the deadline is none, however soon after.
bool ConnectedCall::end_if_late(ServerConnection& connection) {
    if (!info_.deadline || Clock::now() < *info_.deadline) return false;
    shared_->expired.fetch_add(1, std::memory_order_relaxed);
    put_end(connection, {Code::deadline_exceeded, "expected an answer before the deadline, got none in time"}, {});
    connection.flush_now();
    return true;
}

std::size_t ConnectedCall::unsent() const {
    const auto connection = connection_.lock();
    if (!connection) return 0;
    const std::lock_guard lock(connection->mutex_);
    return connection->unsent(stream_);
}

void ConnectedCall::when_unsent_below(std::size_t bytes, std::function<void()> tell) {
    const auto connection = connection_.lock();
    if (!connection) return tell();
    const std::lock_guard lock(connection->mutex_);
    if (ended_ || connection->unsent(stream_) < bytes) return tell();
    room_below_ = bytes;
    tell_ = std::move(tell);
    ++connection->await_room_;
}

void ConnectedCall::tell_of_room(ServerConnection& connection) {
    --connection.await_room_;
    std::exchange(tell_, nullptr)();
}

bool ConnectedCall::reserve(Reservation& reservation, std::size_t bytes) {
    if (!reservation.bytes()) reservation = Reservation(shared_->budget);
    return reservation.grow_to(bytes);
}

bool ConnectedCall::add(CallEvent event, std::uint64_t turn) {
    const std::lock_guard lock(inbox_mutex_);
    if (std::exchange(last_turn_, turn) != turn) inbox_full_ = inbox_.size() >= kMostInbox;
    if (inbox_full_ && event.kind == CallEvent::Kind::message) return false;
    inbox_.push_back(std::move(event));
    return true;
}

Status ConnectedCall::too_many_messages() {
    return {Code::resource_exhausted,
            "expected at most " + std::to_string(kMostInbox) + " messages that are not answered yet, got one more"};
}

bool ConnectedCall::begin_to_hand_out() {
    const std::lock_guard lock(inbox_mutex_);
    return !inbox_.empty() && !std::exchange(handing_out_, true);
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
