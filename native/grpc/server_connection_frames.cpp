// What the frames of a client do to its calls.
#include <string_view>
#include <utility>

#include "grpc/server_connection.hpp"

namespace persia::grpc {

namespace {

// A turn with more frames that begin calls or say little is a long one: at some 1 us each, one who floods would keep the other
// connections waiting with what came at once.
constexpr int kFramesOfShortTurn = 32;
// So many times more headers than it may send end the connection.
constexpr std::size_t kHeaderBomb = 4;

// `application/grpc`, and what says more of the same.
bool is_grpc(std::string_view content_type) {
    constexpr std::string_view kType = "application/grpc";
    if (!content_type.starts_with(kType)) return false;
    const auto rest = content_type.substr(kType.size());
    return rest.empty() || rest.front() == '+' || rest.front() == ';';
}

}  // namespace

void ServerConnection::on_stream_began(std::int32_t stream) {
    flood_limits_.on_call_began();
    count_frame();
    calls_.emplace(stream, std::make_shared<ConnectedCall>(weak_from_this(), stream, shared_.shared_from_this(), peer_));
    ++open_calls_;
}

void ServerConnection::on_header(std::int32_t stream, std::string_view name, std::string_view value) {
    ConnectedCall* call = call_of(stream);
    if (call == nullptr || call->headers_complete_) return;  // trailers of a client have no meaning
    constexpr std::size_t kOverhead = 32;                    // as HTTP/2 counts headers
    if (!call->keep_header(name.size() + value.size() + kOverhead)) {
        // A frame may name headers of the table so often that reading them is all that we do.
        if (call->header_bytes_ > kHeaderBomb * shared_.limits.http2.max_header_bytes) {
            flood_limits_.on_far_too_many_headers();
            stop_if_too_much();
        }
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
    } else if (name == "authorization" && shared_.guard) {
        call->authorization_ = value;  // no method sees it
        ++call->authorizations_;
    } else if (!is_reserved(name)) {
        if (auto known = from_header_value(name, value)) call->info_.metadata.emplace_back(name, std::move(*known));
    }
}

void ServerConnection::on_headers_complete(std::int32_t stream, bool /*ended*/) {
    ConnectedCall* call = call_of(stream);
    if (call == nullptr || std::exchange(call->headers_complete_, true)) return;
    // Of headers that were not all kept, what is looked for may be missing.
    if (call->has_all_headers() && (call->http_method_ != "POST" || !is_grpc(call->content_type_))) {
        submit_trailers_only(stream, {{":status", call->http_method_ != "POST" ? "405" : "415"}});
        call->end(*this);
        return;
    }
    if (const auto refusal = call->check(*this)) {
        shared_.refused.fetch_add(1, std::memory_order_relaxed);
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
    call->got_end_ = true;
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
    if (!call->ended_ && !std::exchange(call->given_, true)) ++given_calls_;
    if (!call->method_->takes_stream()) {
        events_.push_back(std::move(event));
    } else if (call->add(std::move(event), turns_)) {
        events_.push_back({call, kind, {}});
    } else {
        call->put_end(*this, ConnectedCall::too_many_messages(), {});
    }
}

void ServerConnection::on_stream_closed(std::int32_t stream, std::uint32_t /*error*/) {
    const auto found = calls_.find(stream);
    if (found == calls_.end()) return;
    const std::shared_ptr<ConnectedCall> call = std::move(found->second);
    calls_.erase(found);
    if (!call->ended_) {
        shared_.cancelled.fetch_add(1, std::memory_order_relaxed);
        call->end(*this);
    }
    if (call->answer_sent_) {
        flood_limits_.on_call_answered();
    } else {
        flood_limits_.on_call_given_up();
    }
    stop_if_too_much();
    if (call->method_ != nullptr && call->method_->watches_end()) {
        put_event({call, CallEvent::Kind::call_end, {}});
    }
}

void ServerConnection::on_goaway(std::int32_t /*last_stream*/, std::uint32_t /*error*/) {}

void ServerConnection::on_ping(bool acknowledged) {
    if (acknowledged) {
        if (draining_ && !std::exchange(drained_, true)) submit_goaway(NGHTTP2_NO_ERROR, "the server is stopping");
        return;
    }
    flood_limits_.on_ping();
}

void ServerConnection::on_idle_frame() {
    greeted_ = true;
    count_frame();
    flood_limits_.on_idle_frame();
    stop_if_too_much();
}

// Which costs as much as a call that was begun, and brings as little as one that is given up.
void ServerConnection::on_frame_refused() {
    count_frame();
    flood_limits_.on_call_given_up();
    stop_if_too_much();
}

void ServerConnection::count_frame() {
    if (++frames_of_turn_ == kFramesOfShortTurn) shared_.on_much_to_read();
}

// The rest of what has come would only be more of the same.
void ServerConnection::stop_if_too_much() {
    if (!flood_limits_.too_much().empty()) stop_reading();
}

void ServerConnection::on_answer_sent(std::int32_t stream) {
    if (ConnectedCall* call = call_of(stream)) call->answer_sent_ = true;
}

void ServerConnection::on_data_sent(std::int32_t stream, std::size_t unsent) {
    flood_limits_.forgive_pings();
    if (await_room_ == 0) return;
    ConnectedCall* call = call_of(stream);
    if (call != nullptr && call->tell_ && unsent < call->room_below_) call->tell_of_room(*this);
}

std::span<std::byte> ServerConnection::room_of(std::int32_t stream) {
    ConnectedCall* call = call_of(stream);
    return call == nullptr || call->ended_ ? std::span<std::byte>() : call->reader_.room();
}

}  // namespace persia::grpc
