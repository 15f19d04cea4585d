// What is to be done next for a call: whom to ask, when to ask another one, and when to give up. Decides, and does nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "grpc/client_connection.hpp"
#include "routing/replica_set.hpp"

namespace persia::routing {

struct RetryPolicy {
    Clock::duration hedge_after = std::chrono::milliseconds(100);  // until one that has not answered is hedged by another one
    Clock::duration wait_for_service = std::chrono::seconds(1);    // until a service is given up that has no usable replica
    Clock::duration spin_for = {};                                 // until a thread that waits sleeps, at most
};

// Why there is no answer.
struct CallError {
    grpc::Status status;
    std::optional<std::chrono::milliseconds> pushback;  // as of grpc::Reply
};

// Thread safety: for one thread at a time.
class Attempts {
  public:
    // A call that no replica takes to its end is the call's fault, or nobody's: it is not tried for ever.
    static constexpr int kMost = 6;
    // So often a call may come back as one that nothing was done for, before that counts as an attempt.
    static constexpr int kUnprocessed = 3;

    // epoch: only replicas that have it are asked; 0: whatever they have.
    explicit Attempts(std::shared_ptr<ReplicaSet> service, std::uint64_t epoch = 0)
        : service_(std::move(service)), epoch_(epoch) {}

    struct Step {
        enum class Kind {
            wait,     // until then, if nothing happens before
            ask,      // this replica: began(), failed() if it cannot be, and next() once more
            give_up,  // with this error
        };
        Kind kind;
        Clock::time_point until = {};
        std::shared_ptr<Replica> replica = {};
        CallError error = {};
    };
    // end: when the call is given up.
    Step next(Clock::time_point now, Clock::time_point end, const RetryPolicy& policy);

    // The replica is being asked.
    void began(const std::shared_ptr<Replica>& replica);
    // It gives no answer: no connection, a failure, or a refusal. Returns the error where another one would say the same.
    // REQUIRES: began() was called for it.
    std::optional<CallError> failed(const std::shared_ptr<Replica>& replica, std::uint64_t generation, const grpc::Reply& reply,
                                    Clock::time_point now);

    const ReplicaSet& service() const { return *service_; }

  private:
    Step ask(std::shared_ptr<Replica> replica, Clock::time_point now, const RetryPolicy& policy);
    Step ask_another_than_overloaded(Clock::time_point now, const RetryPolicy& policy);
    Step wait_for_service(Clock::time_point now, Clock::time_point end, const RetryPolicy& policy);
    std::shared_ptr<Replica> hedge(Clock::time_point now);
    bool may_ask_again(Clock::time_point now);
    CallError refusal(const Replica& replica, const grpc::Reply& reply) const;
    CallError unavailable() const;
    CallError timed_out() const;

    std::shared_ptr<Replica> choose(Clock::time_point now, std::span<const std::shared_ptr<Replica>> other_than = {}) const {
        return service_->choose(now, other_than, epoch_);
    }

    std::shared_ptr<ReplicaSet> service_;
    std::uint64_t epoch_;
    ReplicaSet::Replicas active_;  // that are being asked
    ReplicaSet::Replicas failed_;
    std::vector<std::string> problems_;    // of each attempt that failed
    std::optional<CallError> overloaded_;  // what one said that has too much to do
    int attempts_ = 0;
    int unprocessed_ = 0;
    bool counted_ = false;  // for the budget
    bool failed_over_ = false;
    bool out_of_budget_ = false;
    Clock::time_point hedge_at_{};
    std::optional<Clock::time_point> give_up_at_;
};

}  // namespace persia::routing
