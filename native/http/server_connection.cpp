#include "http/server_connection.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <utility>

namespace persia::http {

namespace {

constexpr std::size_t kReadBytes = 64 << 10;
constexpr std::size_t kPiecesAtOnce = 64;
// How long a client has to read what was said last, after which what it still sends would be answered by a reset.
constexpr auto kLinger = std::chrono::seconds(3);

grpc::OutgoingMessage text_message(std::string text) { return grpc::OutgoingMessage(std::move(text)); }

// What would end a header early, and begin another one, is left out.
std::string header_text(std::string_view text) {
    std::string clean;
    clean.reserve(text.size());
    for (const char c : text) {
        if (c != '\r' && c != '\n' && c != '\0') clean += c;
    }
    return clean;
}

bool is_the_servers(std::string_view name) {
    return equal_ignoring_case(name, "content-length") || equal_ignoring_case(name, "transfer-encoding") ||
           equal_ignoring_case(name, "connection");
}

}  // namespace

ServerConnection::ServerConnection(std::shared_ptr<ServerShared> shared, std::unique_ptr<grpc::Transport> transport,
                                   std::string peer)
    : shared_(std::move(shared)), transport_(std::move(transport)), peer_(std::move(peer)), since_(Clock::now()),
      request_since_(since_) {}

void ServerConnection::begin() {
    const std::lock_guard lock(mutex_);
    shared_->reactor.wait_for(key_, socket(), EPOLLIN | EPOLLRDHUP | (transport_->wants_to_write() ? EPOLLOUT : 0U));
}

std::optional<Clock::time_point> ServerConnection::idleness() const {
    const std::lock_guard lock(mutex_);
    if (answer_ || body_ || !input_.empty() || !unsent_.empty()) return std::nullopt;
    return since_;
}

bool ServerConnection::look_after(Clock::time_point now) const {
    const std::lock_guard lock(mutex_);
    const auto& limits = shared_->limits;
    if (closing_ && unsent_.empty()) return now - since_ < kLinger;
    if (!unsent_.empty() || body_) return now - since_ < limits.stuck;
    if (answer_) return true;
    if (!input_.empty() || !greeted_) return now - request_since_ < limits.head;
    return now - since_ < limits.idle;
}

void ServerConnection::drain() {
    bool idle = false;
    {
        const std::lock_guard lock(mutex_);
        draining_ = true;
        idle = !answer_ && !body_ && unsent_.empty();
    }
    if (idle) kill();
}

void ServerConnection::kill() noexcept { ::shutdown(socket(), SHUT_RDWR); }

void ServerConnection::on_ready(std::uint32_t events) { serve(events); }

// Reads what has come, has it answered and goes on with what comes next. One thread at a time does so: another one that is told
// of the socket, or has an answer, leaves it to the first.
void ServerConnection::serve(std::uint32_t events) {
    {
        const std::lock_guard lock(mutex_);
        pending_events_ |= events;
        if (gone_ || std::exchange(serving_, true)) return;
    }
    for (;;) {
        ExchangePtr exchange;
        bool alive = true;
        {
            const std::lock_guard lock(mutex_);
            alive = read_some(std::exchange(pending_events_, 0));
            if (alive && !answer_ && !closing_) exchange = take_in();
            alive = alive && flush();
            if (alive && !exchange && pending_events_ == 0) {
                serving_ = false;
                const bool writes = !unsent_.empty() || transport_->wants_to_write();
                shared_->reactor.wait_for(key_, socket(), (answer_ ? 0U : EPOLLIN) | EPOLLRDHUP | (writes ? EPOLLOUT : 0U));
                return;
            }
        }
        if (!alive) return remove();
        if (exchange) shared_->service.on_request(exchange);
    }
}

// With the lock. False: it is of no more use.
bool ServerConnection::read_some(std::uint32_t events) {
    // Nothing is read before the request is answered; a client that has gone is noticed.
    if (answer_) return (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0;
    if (events == 0 && !transport_->has_buffered()) return true;
    std::array<char, kReadBytes> buffer;
    for (;;) {
        const auto room = body_ ? body_->room() : std::span<std::byte>();
        std::array<iovec, 2> into{{{room.data(), room.size()}, {buffer.data(), buffer.size()}}};
        const auto result = transport_->read(std::span(into).subspan(room.empty() ? 1 : 0));
        if (result.outcome == grpc::Transport::Outcome::none) return true;
        if (result.outcome != grpc::Transport::Outcome::some) {
            const bool is_refused = result.outcome == grpc::Transport::Outcome::failed && !transport_->is_open();
            if (is_refused) shared_->refused_clients.note(peer_ + ": " + transport_->error());
            return false;
        }
        if (closing_) continue;  // what it still sends is not wanted
        since_ = Clock::now();
        if (input_.empty() && !body_ && std::exchange(greeted_, true)) request_since_ = since_;
        const std::size_t in_room = std::min(room.size(), result.bytes);
        if (in_room != 0) body_->fed_room(in_room);
        std::string_view rest(buffer.data(), result.bytes - in_room);
        if (body_) rest.remove_prefix(body_->feed(rest));
        input_ += rest;
        if (!body_) begin_request();
        if (closing_ || (body_ && (body_->complete() || body_->refusal()))) return true;
    }
}

// With the lock. The request that is whole now; null: none is.
ExchangePtr ServerConnection::take_in() {
    if (!body_) begin_request();
    if (!body_) return nullptr;
    if (body_->refusal()) {
        refuse(*body_->refusal());
        return nullptr;
    }
    return body_->complete() ? finish_request() : nullptr;
}

// With the lock. Its head, if it is there, and what has come of its body with it.
void ServerConnection::begin_request() {
    // An empty line before a request is one that clients of old sent behind the one before.
    while (input_.starts_with("\r\n")) input_.erase(0, 2);
    const auto end = end_of_head(input_);
    if (end.value_or(input_.size()) > kMaxHeadBytes) {
        return refuse({431, "expected the head of a request within " + std::to_string(kMaxHeadBytes) + " bytes"});
    }
    if (!end) {
        if (const auto refusal = refusal_of_begin(input_)) refuse(*refusal);
        return;
    }
    if (const auto refusal = parse_head(std::string_view(input_).substr(0, *end), head_)) return refuse(*refusal);
    auto admitted = shared_->service.admit(head_, transport_->peer_name());
    if (auto* instead = std::get_if<Response>(&admitted)) return send_away(std::move(*instead));
    identity_ = std::get<std::string>(std::move(admitted));
    input_.erase(0, *end);
    body_.emplace(head_, shared_->limits.max_body_bytes, shared_->budget);
    if (head_.expects_continue && head_.has_body() && !body_->refusal() && input_.empty()) {
        put(text_message("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    input_.erase(0, body_->feed(input_));
}

ExchangePtr ServerConnection::finish_request() {
    auto target = parse_target(head_.target);
    if (!target) {
        refuse({400, "expected a target with '%' only before two hexadecimal digits"});
        return nullptr;
    }
    keep_alive_ = head_.keep_alive;
    Request request{std::exchange(head_, {}), std::move(*target), body_->take(), peer_, std::move(identity_), Clock::now()};
    body_.reset();
    answer_ = std::make_shared<Answer>(weak_from_this(), std::move(request));
    return answer_;
}

void ServerConnection::refuse(const Refusal& refusal) { send_away(shared_->service.refuse(refusal)); }

// Nothing more is read of it.
void ServerConnection::send_away(Response response) {
    response.close = true;
    put_head(response, Length::known);
    put(std::move(response.body));
    closing_ = true;
    body_.reset();
    input_.clear();
}

// With the lock.
void ServerConnection::put_head(Response& response, Length length) {
    const Request* request = answer_ ? &answer_->request() : nullptr;
    shared_->service.complete({request ? request->head : head_, peer_, request ? request->arrived : request_since_}, response);
    if (length == Length::until_the_end) keep_alive_ = false;
    if (response.close || draining_) keep_alive_ = false;
    std::string head = "HTTP/1.1 " + std::to_string(response.status) + ' ' +
                       (response.reason.empty() ? std::string(reason_of(response.status)) : header_text(response.reason)) +
                       "\r\n";
    for (const auto& [name, value] : response.headers) {
        if (!is_the_servers(name)) head += header_text(name) + ": " + header_text(value) + "\r\n";
    }
    if (has_body(response.status)) {
        if (length == Length::known) head += "content-length: " + std::to_string(response.body.size()) + "\r\n";
        if (length == Length::in_chunks) head += "transfer-encoding: chunked\r\n";
    }
    head += keep_alive_ ? "connection: keep-alive\r\n\r\n" : "connection: close\r\n\r\n";
    put(text_message(std::move(head)));
}

// With the lock.
void ServerConnection::put(grpc::OutgoingMessage message) {
    if (unsent_.empty()) since_ = Clock::now();
    for (auto& piece : message.pieces()) {
        unsent_bytes_ += piece.bytes.size();
        unsent_.push_back(std::move(piece));
    }
}

// With the lock.
void ServerConnection::finish_answer() {
    answer_.reset();
    since_ = request_since_ = Clock::now();
    if (!keep_alive_) closing_ = true;
}

// With the lock. False: it is of no more use.
bool ServerConnection::flush() {
    if (!transport_->is_open()) return true;
    while (!unsent_.empty() || transport_->wants_to_write()) {
        std::array<iovec, kPiecesAtOnce> from;
        std::size_t count = 0;
        for (; count < unsent_.size() && count < from.size(); ++count) {
            const std::size_t skip = count == 0 ? unsent_from_ : 0;
            from[count] = {const_cast<std::byte*>(unsent_[count].bytes.data()) + skip, unsent_[count].bytes.size() - skip};
        }
        const auto result = transport_->write(std::span(from).first(count));
        if (result.outcome == grpc::Transport::Outcome::none) break;
        if (result.outcome != grpc::Transport::Outcome::some) return false;
        since_ = Clock::now();
        unsent_bytes_ -= result.bytes;
        std::size_t left = result.bytes + unsent_from_;
        while (!unsent_.empty() && left >= unsent_.front().bytes.size()) {
            left -= unsent_.front().bytes.size();
            unsent_.pop_front();
        }
        unsent_from_ = left;
        if (count == 0) break;
    }
    if (unsent_bytes_ > shared_->limits.max_unsent_bytes) return false;
    if (closing_ && unsent_.empty()) transport_->shut_down();
    return true;
}

void ServerConnection::remove() {
    {
        const std::lock_guard lock(mutex_);
        if (std::exchange(gone_, true)) return;
        if (answer_) answer_->ended_ = true;
        answer_.reset();
    }
    shared_->remove(key_);
}

}  // namespace persia::http
