#include "routing/ask.hpp"

#include <algorithm>
#include <utility>

#include "grpc/call_failed.hpp"
#include "grpc/wait.hpp"

namespace persia::routing {

namespace {

void end_span(tracing::SpanPtr span, const grpc::Status& status) {
    if (!span) return;
    span->set("rpc.grpc.status_code", static_cast<std::int64_t>(status.code));
    if (!status.ok()) span->fail(status.message);
}

// For the header of a call, which says whose child the other end's span is.
grpc::Metadata headers_of(const tracing::Span& span) {
    const tracing::TraceContext& context = span.caller()->context;
    grpc::Metadata headers = {{tracing::kTraceParent, tracing::traceparent_of(context)}};
    if (!context.state.empty()) headers.emplace_back(tracing::kTraceState, context.state);
    return headers;
}

}  // namespace

Call::Call(std::shared_ptr<ReplicaSet> service, std::string path, grpc::OutgoingMessage message, Check check,
           AnswerMemory memory, std::uint64_t epoch, tracing::CallerPtr caller)
    : path_(std::move(path)), message_(std::move(message)), check_(std::move(check)), memory_(std::move(memory)),
      attempts_(std::move(service), epoch), caller_(std::move(caller)) {}

Call::~Call() { cancel(); }
Call::Call(Call&&) noexcept = default;
Call& Call::operator=(Call&&) noexcept = default;

Clock::time_point Call::advance(Clock::time_point now, Clock::time_point end, const RetryPolicy& policy) {
    while (!has_ended()) {
        Attempts::Step step = attempts_.next(now, end, policy);
        switch (step.kind) {
            case Attempts::Step::Kind::wait:
                return step.until;
            case Attempts::Step::Kind::ask:
                ask(step.replica, now, end);
                break;
            case Attempts::Step::Kind::give_up:
                error_ = std::move(step.error);
        }
    }
    cancel();
    return now;
}

void Call::ask(const std::shared_ptr<Replica>& replica, Clock::time_point now, Clock::time_point end) {
    grpc::Reservation memory(memory_.budget);
    if (!memory.grow_to(memory_.bytes)) {
        if (!active_.empty()) return;  // it would have been a hedge
        const grpc::CallFailed none = grpc::no_memory_for_answer(memory_.bytes);
        error_ = CallError{none.status, none.pushback};
        return;
    }
    tracing::SpanPtr span = begin_attempt(*replica);
    attempts_.began(replica);
    Replica::Taken taken = replica->take_connection();
    if (!taken.connection) {
        grpc::Reply reply;
        reply.status = grpc::Status(grpc::Code::unavailable, std::move(taken.failure));
        end_span(std::move(span), reply.status);
        return fail(replica, taken.generation, reply, now);
    }
    const std::string token = replica->token();
    const grpc::Metadata headers = span ? headers_of(*span) : grpc::Metadata();
    taken.connection->begin({.path = path_,
                             .message = message_,
                             .token = token,
                             .deadline = end,
                             .metadata = &headers,
                             .memory = std::move(memory)});
    active_.push_back({replica, taken.generation, std::move(taken.connection), std::move(span)});
}

// Null: the call is not sampled.
tracing::SpanPtr Call::begin_attempt(const Replica& replica) {
    const std::int64_t number = ++attempts_begun_;
    tracing::SpanPtr span = tracing::begin_span(caller_, "persia.ask", tracing::SpanKind::client);
    if (!span) return nullptr;
    span->set("server.address", replica.address());
    span->set("persia.service", service().name());
    span->set("persia.attempt", number);
    span->set("persia.reason", std::string(number == 1 ? "first" : active_.empty() ? "retry" : "hedge"));
    return span;
}

bool Call::collect(Clock::time_point now) {
    bool any = false;
    for (std::size_t i = 0; i < active_.size() && !has_ended();) {
        if (!active_[i].connection->has_ended()) {
            ++i;
            continue;
        }
        Active active = std::move(active_[i]);
        active_.erase(active_.begin() + static_cast<std::ptrdiff_t>(i));
        receive(std::move(active), now);
        any = true;
    }
    if (has_ended()) cancel();
    return any;
}

void Call::receive(Active active, Clock::time_point now) {
    grpc::Reply reply = active.connection->take();
    if (reply.status.ok()) {
        const std::string why_none = check_(reply.message.bytes());
        if (why_none.empty()) {
            answer_ = std::move(reply.message);
            answered_by_ = active.replica;
            has_answer_ = true;
        } else {  // and the connection may be at fault
            reply.status = grpc::Status(grpc::Code::unavailable, "an invalid answer: " + why_none);
            active.connection.reset();
        }
    }
    end_span(std::move(active.span), reply.status);
    if (active.connection) active.replica->give_back(active.generation, std::move(active.connection));
    if (!has_answer_) fail(active.replica, active.generation, reply, now);
}

void Call::fail(const std::shared_ptr<Replica>& replica, std::uint64_t generation, const grpc::Reply& reply,
                Clock::time_point now) {
    error_ = attempts_.failed(replica, generation, reply, now);
}

void Call::cancel() noexcept {
    for (Active& active : active_) {
        active.connection->cancel();
        if (active.span) active.span->set("persia.given_up", true);  // another one has answered, or nobody waits
        active.replica->give_back(active.generation, std::move(active.connection));
    }
    active_.clear();
}

void Call::add_connections(std::vector<grpc::ClientConnection*>& connections) const {
    for (const Active& active : active_) connections.push_back(active.connection.get());
}

Asking::Asking(std::vector<Call> calls, Clock::time_point end, const RetryPolicy& policy, Need need)
    : calls_(std::move(calls)), end_(end), policy_(policy), need_(need) {}

Asking::~Asking() = default;

void Asking::begin() {
    begun_ = true;
    const Clock::time_point now = Clock::now();
    for (Call& call : calls_) {
        if (!call.has_ended()) call.advance(now, end_, policy_);
    }
}

bool Asking::is_over() const {
    return (need_ == Need::all && std::ranges::any_of(calls_, &Call::has_error)) ||
           std::ranges::all_of(calls_, &Call::has_ended);
}

void Asking::give_up() noexcept {
    for (Call& call : calls_) call.cancel();
}

void Asking::finish(const OnWait& on_wait) {
    if (!begun_) begin();
    std::vector<grpc::ClientConnection*> connections;
    Clock::time_point heard = Clock::now();
    for (Clock::time_point now = heard; !is_over();) {
        Clock::time_point wake = now + on_wait.every;
        for (Call& call : calls_) {
            if (!call.has_ended()) wake = std::min(wake, call.advance(now, end_, policy_));
        }
        if (is_over()) break;
        connections.clear();
        for (const Call& call : calls_) call.add_connections(connections);
        const bool one_each = connections.size() == static_cast<std::size_t>(std::ranges::count_if(
                                                        calls_, [](const Call& call) { return !call.has_ended(); }));
        grpc::wait_any(connections, wake, policy_.spin_for, one_each ? grpc::Wanted::all : grpc::Wanted::any);
        now = Clock::now();
        bool any = false;
        for (Call& call : calls_) any = call.collect(now) || any;
        const bool interrupted = !any && now < wake;
        if (on_wait.look && (interrupted || now - heard >= on_wait.every)) {
            heard = now;
            on_wait.look();
        }
    }
    give_up();
}

}  // namespace persia::routing
