// One call to a service of replicas that are no servers: what it does next, at moments that the tests choose.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "routing/attempts.hpp"

namespace persia::routing {

using namespace std::chrono_literals;
using Kind = Attempts::Step::Kind;
using grpc::Code;

// Not the same as now: nothing here depends on the clock but how long a service has been away.
inline const Clock::time_point kNow = Clock::now() + 1ms;
inline const Clock::time_point kEnd = kNow + 10s;
constexpr RetryPolicy kPolicy{.hedge_after = 100ms, .wait_for_service = 1s};

inline std::shared_ptr<Replica> replica(const std::string& address) {
    auto made = std::make_shared<Replica>(Target{.address = address});
    made->set_health(made->generation(), {.ready = true, .state = "serving"});
    return made;
}

inline void recover(Replica& replica) { replica.set_health(replica.generation(), {.ready = true, .state = "serving"}); }

inline grpc::Reply lost(std::string words = "Connection refused") {
    grpc::Reply reply;
    reply.status = grpc::Status(Code::unavailable, std::move(words));
    return reply;
}

inline grpc::Reply refused(Code code, std::string words) {
    grpc::Reply reply;
    reply.status = grpc::Status(code, std::move(words));
    reply.is_servers_word = true;
    return reply;
}

inline grpc::Reply overloaded(std::chrono::milliseconds pushback = 50ms) {
    grpc::Reply reply = refused(Code::resource_exhausted, "too much to do");
    reply.pushback = pushback;
    return reply;
}

inline ReplicaSet::Replicas replicas_of(int count) {
    ReplicaSet::Replicas all;
    for (int i = 0; i < count; ++i) all.push_back(replica(std::string(1, static_cast<char>('a' + i)) + ":1"));
    return all;
}

// A service of so many replicas, a:1, b:1 and so on, and one call to it.
struct Asked {
    explicit Asked(int count)
        : replicas(replicas_of(count)), service(std::make_shared<ReplicaSet>("shard 1 of 2", replicas)), attempts(service) {}

    Attempts::Step next(Clock::duration after = 0s) { return attempts.next(kNow + after, kEnd, kPolicy); }
    // The replica that is asked next; null: none.
    std::shared_ptr<Replica> ask(Clock::duration after = 0s) {
        Attempts::Step step = next(after);
        if (step.kind != Kind::ask) return nullptr;
        attempts.began(step.replica);
        return step.replica;
    }
    std::optional<CallError> fail(const std::shared_ptr<Replica>& one, const grpc::Reply& reply, Clock::duration after = 0s) {
        return attempts.failed(one, one->generation(), reply, kNow + after);
    }
    std::string words_of_end(Clock::duration after) {
        const Attempts::Step step = next(after);
        return step.kind == Kind::give_up ? step.error.status.message : "";
    }
    void spend_all(Clock::duration after = 0s) {
        while (service->budget().spend(kNow + after)) continue;
    }

    ReplicaSet::Replicas replicas;
    std::shared_ptr<ReplicaSet> service;
    Attempts attempts;
};

}  // namespace persia::routing
