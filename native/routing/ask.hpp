// Asks several services at once, each of which may have replicas: retries, hedges, and keeps to the caller's time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "grpc/client_connection.hpp"
#include "grpc/memory_budget.hpp"
#include "grpc/message.hpp"
#include "routing/attempts.hpp"
#include "routing/on_wait.hpp"
#include "routing/replica_set.hpp"
#include "tracing/span.hpp"

namespace persia::routing {

// The likely size of an answer, and the budget that its memory is taken from before the call begins; null: no budget.
struct AnswerMemory {
    std::shared_ptr<grpc::MemoryBudget> budget = {};
    std::size_t bytes = 0;
};

// One call to one service. Afterwards it has either an answer or an error.
// Thread safety: for one thread at a time.
class Call {
  public:
    // Says why a message is no answer to the call, such as `expected 12 numbers, got 8`. Another replica is asked then. Empty:
    // the message is an answer.
    using Check = std::function<std::string(std::span<const std::byte> message)>;

    // path: `/package.Service/Method`. message: may be sent more than once. epoch: only replicas that have it are asked; 0:
    // whatever they have. caller: each attempt is a span of its own, of which the replica is told.
    Call(std::shared_ptr<ReplicaSet> service, std::string path, grpc::OutgoingMessage message, Check check,
         AnswerMemory memory = {}, std::uint64_t epoch = 0, tracing::CallerPtr caller = nullptr);
    ~Call();
    Call(Call&&) noexcept;
    Call& operator=(Call&&) noexcept;

    bool has_answer() const { return has_answer_; }
    bool has_error() const { return error_.has_value(); }
    bool has_ended() const { return has_answer_ || error_.has_value(); }

    // REQUIRES: has_answer. May be moved from.
    grpc::ReceivedMessage& answer() { return answer_; }
    Replica& answered_by() const { return *answered_by_; }
    // REQUIRES: has_error.
    const CallError& error() const { return *error_; }

    const ReplicaSet& service() const { return attempts_.service(); }

    // Begins the attempts that are due. Returns the time of the next call, if nothing happens before. REQUIRES: not ended.
    Clock::time_point advance(Clock::time_point now, Clock::time_point end, const RetryPolicy& policy);
    // Takes the answers that have come; the first one counts. True: at least one has come.
    bool collect(Clock::time_point now);
    // Gives up the attempts that are under way.
    void cancel() noexcept;
    // Adds the connections that the call waits for.
    void add_connections(std::vector<grpc::ClientConnection*>& connections) const;

  private:
    struct Active {
        std::shared_ptr<Replica> replica;
        std::uint64_t generation;
        std::unique_ptr<grpc::ClientConnection> connection;
        tracing::SpanPtr span;
    };

    tracing::SpanPtr begin_attempt(const Replica& replica);
    void ask(const std::shared_ptr<Replica>& replica, Clock::time_point now, Clock::time_point end);
    void receive(Active active, Clock::time_point now);
    void fail(const std::shared_ptr<Replica>& replica, std::uint64_t generation, const grpc::Reply& reply,
              Clock::time_point now);

    std::string path_;
    grpc::OutgoingMessage message_;
    Check check_;
    AnswerMemory memory_;
    Attempts attempts_;
    tracing::CallerPtr caller_;
    std::int64_t attempts_begun_ = 0;
    std::vector<Active> active_;
    grpc::ReceivedMessage answer_;
    std::shared_ptr<Replica> answered_by_;
    bool has_answer_ = false;
    std::optional<CallError> error_;
};

// Calls that are made together. begin() and finish() are apart, so that the caller can work while the services work.
// Thread safety: for one thread at a time.
class Asking {
  public:
    enum class Need {
        all,   // one error is enough: the other calls may then have neither answer nor error
        each,  // the others go on
    };
    // end: when the calls are given up.
    Asking(std::vector<Call> calls, Clock::time_point end, const RetryPolicy& policy, Need need = Need::all);
    ~Asking();  // gives up what is under way
    Asking(const Asking&) = delete;
    Asking& operator=(const Asking&) = delete;

    // Asks, without waiting.
    void begin();
    // Returns when every call has ended as `need` wants it, at `end` at the latest. Calls begin() if nobody has.
    void finish(const OnWait& on_wait = {});

    std::vector<Call>& calls() { return calls_; }

  private:
    bool is_over() const;
    void give_up() noexcept;

    std::vector<Call> calls_;
    const Clock::time_point end_;
    const RetryPolicy policy_;
    const Need need_;
    bool begun_ = false;
};

}  // namespace persia::routing
