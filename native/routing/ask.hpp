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
#include "routing/replica_set.hpp"

namespace persia::routing {

// How large an answer is about, and of which budget its memory is taken, before anybody is asked for it; null: of none.
struct AnswerMemory {
    std::shared_ptr<grpc::MemoryBudget> budget = {};
    std::size_t bytes = 0;
};

// What somebody does now and then who waits for long, and when a signal has come; what it throws ends the wait.
struct OnWait {
    std::function<void()> look = {};
    Clock::duration every = std::chrono::milliseconds(500);
};

// One call to one service. Afterwards it has either an answer or an error.
// Thread safety: for one thread at a time.
class Call {
  public:
    // Why a message is no answer to the call, such as `expected 12 numbers, got 8`: then another replica is asked. Empty: it is
    // one.
    using Check = std::function<std::string(std::span<const std::byte> message)>;

    // path: `/package.Service/Method`. message: may be sent more than once. epoch: only replicas that have it are asked; 0:
    // whatever they have.
    Call(std::shared_ptr<ReplicaSet> service, std::string path, grpc::OutgoingMessage message, Check check,
         AnswerMemory memory = {}, std::uint64_t epoch = 0);
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

    // Begins what is to be begun. Returns when it is to be called again, if nothing happens before. REQUIRES: not ended.
    Clock::time_point advance(Clock::time_point now, Clock::time_point end, const RetryPolicy& policy);
    // Takes what has come; the first answer counts. True: something has.
    bool collect(Clock::time_point now);
    // Gives up what is under way.
    void cancel() noexcept;
    // Those that are waited for are added.
    void add_connections(std::vector<grpc::ClientConnection*>& connections) const;

  private:
    struct Active {
        std::shared_ptr<Replica> replica;
        std::uint64_t generation;
        std::unique_ptr<grpc::ClientConnection> connection;
    };

    void ask(const std::shared_ptr<Replica>& replica, Clock::time_point now, Clock::time_point end);
    void receive(Active active, Clock::time_point now);
    void fail(const std::shared_ptr<Replica>& replica, std::uint64_t generation, const grpc::Reply& reply,
              Clock::time_point now);

    std::string path_;
    grpc::OutgoingMessage message_;
    Check check_;
    AnswerMemory memory_;
    Attempts attempts_;
    std::vector<Active> active_;
    grpc::ReceivedMessage answer_;
    std::shared_ptr<Replica> answered_by_;
    bool has_answer_ = false;
    std::optional<CallError> error_;
};

// Calls that are asked together. begin() and finish() are apart, so that whoever asks can do something while the services work.
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
    // Returns when each call has what it needs, at `end` at the latest. begin() need not be called before.
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
