#include "routing/attempts.hpp"

#include <algorithm>
#include <utility>

namespace persia::routing {

namespace {

using grpc::Code;

// How often a call that waits for a replica looks whether there is one.
constexpr std::chrono::milliseconds kLook{5};

bool has_too_much_to_do(const grpc::Reply& reply) {
    return reply.status.code == Code::resource_exhausted && reply.pushback.has_value();
}

// Whether a reply says something of the server, and not of the call.
bool may_be_answered_elsewhere(const grpc::Reply& reply) {
    const Code code = reply.status.code;
    // Nobody here cancelled it: the server is on its way out.
    if (code == Code::unavailable || code == Code::cancelled) return true;
    return !reply.is_servers_word && (code == Code::unknown || code == Code::internal);
}

// Where all replicas are slow, there is too much to do: to ask each of them for everything would make it twice as much.
bool relieves(const Replica& other, const ReplicaSet::Replicas& asked, Clock::time_point now) {
    const Standing standing = other.standing(now);
    return standing == Standing::well ||
           std::ranges::all_of(asked, [&](const auto& replica) { return standing < replica->standing(now); });
}

std::string joined(const std::vector<std::string>& texts, const char* between) {
    std::string all;
    for (auto text = texts.begin(); text != texts.end(); ++text) {
        if (std::find(texts.begin(), text, *text) != text) continue;
        all += (all.empty() ? "" : between) + *text;
    }
    return all;
}

Attempts::Step wait(Clock::time_point until) { return {.kind = Attempts::Step::Kind::wait, .until = until}; }

Attempts::Step give_up(CallError error) { return {.kind = Attempts::Step::Kind::give_up, .error = std::move(error)}; }

}  // namespace

Attempts::Step Attempts::next(Clock::time_point now, Clock::time_point end, const RetryPolicy& policy) {
    if (now >= end) return give_up(timed_out());
    if (!active_.empty()) {
        if (now < hedge_at_) return wait(std::min(hedge_at_, end));
        if (const auto other = hedge(now)) return ask(other, now, policy);
        hedge_at_ = now + policy.hedge_after;  // it looks again then
        return wait(std::min(hedge_at_, end));
    }
    if (overloaded_) return ask_another_than_overloaded(now, policy);
    if (attempts_ >= kMost) return give_up(unavailable());
    auto replica = choose(now, failed_);
    if (!replica) replica = choose(now);
    if (!replica) return wait_for_service(now, end, policy);
    if (!may_ask_again(now)) return give_up(unavailable());
    return ask(std::move(replica), now, policy);
}

Attempts::Step Attempts::ask(std::shared_ptr<Replica> replica, Clock::time_point now, const RetryPolicy& policy) {
    if (!std::exchange(counted_, true)) service_->budget().earn();
    ++attempts_;
    hedge_at_ = now + policy.hedge_after;
    return {.kind = Step::Kind::ask, .replica = std::move(replica)};
}

// Nobody waits until it has less to do: to come back is for those who asked us.
Attempts::Step Attempts::ask_another_than_overloaded(Clock::time_point now, const RetryPolicy& policy) {
    if (overloaded_->pushback->count() < 0 || attempts_ >= kMost) return give_up(*overloaded_);
    auto other = choose(now, failed_);
    if (!other || !service_->budget().spend(now)) return give_up(*overloaded_);
    return ask(std::move(other), now, policy);
}

// A service that has been away for long is not waited for by each call anew.
Attempts::Step Attempts::wait_for_service(Clock::time_point now, Clock::time_point end, const RetryPolicy& policy) {
    if (!give_up_at_) {
        const Clock::time_point since = service_->usable() ? now : service_->unusable_since();  // none has the epoch yet
        give_up_at_ = std::max(now, since + policy.wait_for_service);
    }
    if (now >= *give_up_at_) return give_up(unavailable());
    return wait(std::min({now + kLook, *give_up_at_, end}));
}

// The one that is being asked may still answer: whichever does first counts.
std::shared_ptr<Replica> Attempts::hedge(Clock::time_point now) {
    ReplicaSet::Replicas others = active_;
    others.insert(others.end(), failed_.begin(), failed_.end());
    auto other = choose(now, others);
    if (!other) other = choose(now, active_);
    for (const auto& replica : active_) replica->mark_slow(now);
    if (!other || active_.size() > 1 || !relieves(*other, active_, now) || !service_->budget().spend(now)) return nullptr;
    return other;
}

// Once for nothing, so that a server that dies costs no call, however many it had.
bool Attempts::may_ask_again(Clock::time_point now) {
    if (attempts_ == 0 || !std::exchange(failed_over_, true)) return true;
    out_of_budget_ = !service_->budget().spend(now);
    return !out_of_budget_;
}

void Attempts::began(const std::shared_ptr<Replica>& replica) { active_.push_back(replica); }

std::optional<CallError> Attempts::failed(const std::shared_ptr<Replica>& replica, std::uint64_t generation,
                                          const grpc::Reply& reply, Clock::time_point now) {
    active_.erase(std::ranges::find(active_, replica));
    failed_.push_back(replica);
    if (has_too_much_to_do(reply)) {
        replica->mark_slow(now, std::max<Clock::duration>(*reply.pushback, Replica::kSlowFor));
        overloaded_ = refusal(*replica, reply);
        return std::nullopt;
    }
    if (!may_be_answered_elsewhere(reply)) return refusal(*replica, reply);
    problems_.push_back(replica->address() + ": " + reply.status.message);
    if (reply.unprocessed && ++unprocessed_ <= kUnprocessed) {
        --attempts_;
    } else {
        replica->suspect(generation, reply.status.message);
    }
    return std::nullopt;
}

CallError Attempts::refusal(const Replica& replica, const grpc::Reply& reply) const {
    return {{reply.status.code, service_->name() + " at " + replica.address() + ": " + reply.status.message}, reply.pushback};
}

CallError Attempts::unavailable() const {
    // A replica that says that it is well is not the reason.
    std::string why = service_->usable() ? joined(problems_, "; ") : service_->why_unusable();
    if (why.empty()) why = "expected one that has epoch " + std::to_string(epoch_) + ", " + service_->epochs_there();
    if (out_of_budget_) why += "; it is not asked again, as many calls have failed of late";
    return {{Code::unavailable, "expected an answer of " + service_->name() + ", got none: " + why}, {}};
}

CallError Attempts::timed_out() const {
    if (active_.empty() && (!problems_.empty() || !service_->usable())) return unavailable();
    const std::string expected = "expected an answer of " + service_->name() + " in time, got ";
    if (active_.empty()) return {{Code::deadline_exceeded, expected + "no time to ask"}, {}};
    std::vector<std::string> asked;
    for (const auto& replica : active_) asked.push_back(replica->address());
    return {{Code::deadline_exceeded, expected + "none from " + joined(asked, ", ")}, {}};
}

}  // namespace persia::routing
