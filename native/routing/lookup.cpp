// A lookup from its requests to its tensors.
#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "base/error.hpp"
#include "grpc/call_failed.hpp"
#include "plan/assemble.hpp"
#include "plan/plan_counts.hpp"
#include "routing/router.hpp"

namespace persia::routing {

namespace {

constexpr char kLookup[] = "/persia.v1.EmbeddingServer/Lookup";
constexpr char kCheckpoints[] = "expected rows of one checkpoint, got rows of several: the servers are being restarted";
constexpr char kEpochs[] =
    "expected rows of one epoch, got rows of several: some servers have not the epoch that all others have";
constexpr char kNoEpochOfVariant[] =
    "expected an epoch in which the variant goes with this version of the dense model, got none on the servers: ask with the "
    "version that the records name for the variant, or for none";
constexpr char kNoEpochToRead[] =
    "expected an epoch whose record names this version of the dense model, got none on the servers: commit one, or ask "
    "with the version that the newest record names";
// How often a lookup looks whether there is an epoch by now.
constexpr std::chrono::milliseconds kLook{5};

// Ends a span also where an error leaves: in Python the error may keep the lookup for as long as somebody keeps the error.
class EndOf {
  public:
    explicit EndOf(tracing::SpanPtr& span) : span_(span) {}
    ~EndOf() { span_.reset(); }
    EndOf(const EndOf&) = delete;
    EndOf& operator=(const EndOf&) = delete;

  private:
    tracing::SpanPtr& span_;
};

}  // namespace

Lookup::Lookup(std::shared_ptr<const Router> router, AskingTurns::Turn turn, Plan plan, Clock::time_point end,
               std::shared_ptr<grpc::MemoryBudget> budget, std::uint64_t min_epoch, const wire::RowsFor& rows_for,
               tracing::SpanPtr span)
    : router_(std::move(router)), span_(std::move(span)), turn_(std::move(turn)),
      plan_(std::make_shared<const Plan>(std::move(plan))), end_(end), budget_(std::move(budget)), min_epoch_(min_epoch),
      rows_for_(rows_for), choice_(router_->epochs_.of(rows_for)) {
    for (std::size_t i = 0; i < plan_->shards.size(); ++i) {
        const PlannedRequest& request = plan_->shards[i];
        if (const std::size_t size = request.view().answer_size(); size != 0) asked_.push_back({i, size, request.parts.size()});
    }
}

void Lookup::begin() {
    tracing::within(span_, [&] {
        make_room();
        ask();
    });
}

void Lookup::make_room() {
    auto room = std::make_shared<Room>();
    room->tensors = room_of(*plan_);
    room->memory = grpc::Reservation(budget_);
    const std::size_t bytes = room->tensors.size * sizeof(std::uint16_t);
    if (!room->memory.grow_to(bytes)) throw grpc::no_memory_for_answer(bytes);
    room->numbers = std::make_unique_for_overwrite<std::uint16_t[]>(room->tensors.size);
    room_ = std::move(room);
}

void Lookup::ask() {
    const auto count = static_cast<std::uint32_t>(plan_->shards.size());
    epoch_ = choice_->choose(router_->shards_, min_epoch_);
    std::vector<Call> calls;
    calls.reserve(asked_.size());
    for (Asked& asked : asked_) {
        asked.answered = false;
        asked.message = {};  // of an attempt before
        const wire::ShardPlace place{static_cast<std::uint32_t>(asked.shard), count};
        auto check = [this, &asked](std::span<const std::byte> message) -> std::string {
            try {
                asked.response = wire::LookupResponse(message);
            } catch (const DecodeError& error) {
                return error.what();
            }
            return router_->why_no_answer(asked, asked.response, rows_for_.variant);
        };
        calls.emplace_back(router_->shards_[asked.shard], kLookup,
                           wire::encode_lookup_request(place, plan_->shards[asked.shard].view(), plan_, epoch_, rows_for_),
                           std::move(check), AnswerMemory{budget_, wire::most_response_bytes(asked.parts, asked.answer_size)},
                           epoch_, span_ ? span_->caller() : nullptr);
    }
    const bool all = !router_->options_.zeros_for_missing_shards;
    began_ = Clock::now();
    asking_.emplace(std::move(calls), end_, router_->options_.retry, all ? Asking::Need::all : Asking::Need::each);
    asking_->begin();
}

LookupResult Lookup::finish(const OnWait& on_wait) {
    const EndOf end(span_);
    return tracing::within(span_, [&] { return take_result(on_wait); });
}

LookupResult Lookup::take_result(const OnWait& on_wait) {
    const Clock::time_point first = began_;
    const int attempts = ask_until_of_one_epoch(on_wait);
    turn_ = {};
    if (epoch_ < min_epoch_) {
        throw grpc::CallFailed({grpc::Code::unavailable, "expected rows of epoch " + std::to_string(min_epoch_) +
                                                             " or a later one, got rows of servers that follow no epochs"});
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - first).count();
    LookupResult result = assemble();
    result.asking_seconds = seconds;
    if (span_) {
        span_->set("persia.epoch", static_cast<std::int64_t>(epoch_));
        span_->set("persia.rounds", std::int64_t{attempts});
        span_->set("persia.shards", static_cast<std::int64_t>(asked_.size()));
        span_->set("persia.missing_shards", static_cast<std::int64_t>(result.missing_shards.size()));
    }
    return result;
}

// Returns how often all shards were asked.
int Lookup::ask_until_of_one_epoch(const OnWait& on_wait) {
    const Clock::time_point first = began_;
    for (int attempt = 1;; ++attempt) {
        asking_->finish(on_wait);
        const bool may_ask_again = attempt < Router::kMaxAttempts;
        if (take_answers(may_ask_again)) {
            // Servers may have been started anew while they were asked, some before and some after they were.
            const bool one_checkpoint = are_of_one_checkpoint();
            if (one_checkpoint && are_of_one_epoch()) return attempt;
            if (one_checkpoint) wait_for_epoch_to_read(first, on_wait);
            if (!may_ask_again)
                throw grpc::CallFailed({grpc::Code::unavailable, one_checkpoint ? why_not_of_one_epoch() : kCheckpoints});
        }
        ask();
    }
}

// Throws what one of the shards has failed with, unless it can be done without. False: all are to be asked anew, for by now
// another epoch is the one that they have in common.
bool Lookup::take_answers(bool may_ask_again) {
    for (std::size_t i = 0; i < asked_.size(); ++i) {
        Call& call = asking_->calls()[i];
        if (call.has_answer()) {
            asked_[i].message = std::move(call.answer());  // the response's views stay where they are
            asked_[i].answered = true;
            const wire::LookupFacts& facts = asked_[i].response.facts();
            call.answered_by().epochs().note(facts.server_start, {facts.epoch_low, facts.epoch_high});
            choice_->note(facts.run);
        }
        if (!call.has_error()) continue;
        const CallError& error = call.error();
        if (may_ask_again && epoch_ != 0 && error.status.code == grpc::Code::unavailable &&
            choice_->choose(router_->shards_, min_epoch_) != epoch_) {
            return false;
        }
        const auto settled = router_->settled();
        if (!settled->problem.empty() && error.status.code == grpc::Code::unavailable) {
            throw grpc::CallFailed({grpc::Code::unavailable, settled->problem});
        }
        if (!router_->can_do_without(error)) throw grpc::CallFailed(error.status, error.pushback);
    }
    return true;
}

bool Lookup::are_of_one_checkpoint() const {
    const Asked* first = nullptr;
    for (const Asked& asked : asked_) {
        if (!asked.answered) continue;
        const wire::LookupFacts& facts = asked.response.facts();
        if (facts.epoch == 0 && facts.epoch_high != 0) continue;  // it has not the epoch, and brings no rows
        if (first == nullptr) first = &asked;
        if (facts.checkpoint_id != first->response.facts().checkpoint_id) return false;
    }
    return true;
}

// Where each was asked for its newest rows, they are of one epoch, or one of the servers follows none.
bool Lookup::are_of_one_epoch() {
    std::uint64_t epoch = epoch_;
    for (const Asked& asked : asked_) {
        if (!asked.answered) continue;
        const wire::LookupFacts& facts = asked.response.facts();
        if (epoch_ == 0 && facts.epoch_high == 0) return true;
        if (epoch == 0) epoch = facts.epoch;
        if (facts.epoch != epoch || epoch == 0) return false;
    }
    if (epoch_ == 0) choice_->reached(epoch);
    epoch_ = epoch;
    return true;
}

// A record that names the version of the dense model, or has the variant, may have been committed a moment ago.
void Lookup::wait_for_epoch_to_read(Clock::time_point since, const OnWait& on_wait) const {
    const Clock::time_point until = std::min(since + router_->options_.retry.wait_for_service, end_);
    while (choice_->may_read_none() && Clock::now() < until) {
        std::this_thread::sleep_for(kLook);
        if (on_wait.look) on_wait.look();
    }
}

const char* Lookup::why_not_of_one_epoch() const {
    if (!choice_->may_read_none()) return kEpochs;
    return rows_for_.variant != 0 ? kNoEpochOfVariant : kNoEpochToRead;
}

LookupResult Lookup::assemble() {
    const std::size_t shards = plan_->shards.size();
    LookupResult result;
    result.versions.resize(shards);
    result.checkpoint_id = router_->settled()->checkpoint_id;  // where no shard has answered
    result.epoch = epoch_;
    result.variant = rows_for_.variant;
    // A shard that was not asked has answered with nothing, and misses nothing.
    std::vector<std::span<const float>> answers(shards);
    std::vector<std::optional<std::span<const std::byte>>> misses(shards, std::span<const std::byte>());
    for (Asked& asked : asked_) {
        if (!asked.answered) {
            misses[asked.shard].reset();
            result.missing_shards.push_back(static_cast<std::uint32_t>(asked.shard));
            continue;
        }
        const wire::LookupFacts& facts = asked.response.facts();
        answers[asked.shard] = asked.response.numbers();
        misses[asked.shard] = asked.response.misses();
        result.versions[asked.shard] = facts.version;
        result.misses.absent += facts.misses.absent;
        result.misses.wrong_dim += facts.misses.wrong_dim;
        result.checkpoint_id = facts.checkpoint_id;
    }
    persia::assemble(*plan_, answers, room_->tensors.tensors_in(room_->numbers.get()));
    result.counts = count_features(*plan_, misses, router_->counts_);
    return result;
}

}  // namespace persia::routing
