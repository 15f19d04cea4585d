// Decides what a call does next: which replica it asks, when it asks another one, and when it gives up. It only decides.
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
    Clock::duration hedge_after = std::chrono::milliseconds(100);  // until a second replica is asked beside one that is silent
    Clock::duration wait_for_service = std::chrono::seconds(1);    // until a service without a usable replica is given up
    Clock::duration spin_for = {};                                 // how long a waiting thread stays awake, at most
};

// Why there is no answer.
struct CallError {
    grpc::Status status;
    std::optional<std::chrono::milliseconds> pushback;  // as of grpc::Reply
};

// Thread safety: for one thread at a time.
class Attempts {
  public:
    // The attempts of one call. If none of them ends well, the call itself may be at fault, so it is not tried for ever.
    static constexpr int kMost = 6;
    // How often a server may hand a call back without having begun it, before that counts as an attempt.
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

    // Notes that the replica is being asked.
    void began(const std::shared_ptr<Replica>& replica);
    // Notes that the replica gives no answer. Returns the error if it is one that every other replica would give as well.
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
