// From a batch to the tensors of its features: plan, ask all shards at once, check, assemble.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "batch/batch.hpp"
#include "plan/plan.hpp"
#include "routing/ask.hpp"
#include "routing/asking_turns.hpp"
#include "routing/epoch_choices.hpp"
#include "table/feature_counts.hpp"
#include "tracing/span.hpp"
#include "wire/lookup.hpp"

namespace persia::routing {

struct RouterOptions {
    RetryPolicy retry;
    bool zeros_for_missing_shards = false;  // instead of an error
    wire::RowsFor rows_for = {};            // of lookups that name no dense model; without a variant
};

// Which servers' answers count. The watch over the servers decides it (settle), and a lookup only reads it.
struct Settled {
    std::uint64_t checkpoint_id = 0;                         // of the checkpoint whose servers are asked
    std::string problem;                                     // why no checkpoint is chosen; empty: one is chosen
    std::optional<std::vector<std::uint64_t>> known_starts;  // the server_start of those that count, ascending; nullopt: of all
};

// Memory for the tensors of a batch.
struct Room {
    std::unique_ptr<std::uint16_t[]> numbers;  // of all tensors; there when the lookup is finished
    TensorRoom tensors;                        // where they lie in it
    grpc::Reservation memory;                  // of the numbers

    std::span<const std::uint16_t> all() const { return {numbers.get(), tensors.size}; }
};

// What a lookup tells about a batch's tensors.
struct LookupResult {
    std::vector<std::uint64_t> versions;        // of each shard; 0 for one that was not asked
    Misses misses;                              // signs
    std::vector<std::uint32_t> missing_shards;  // whose rows are zeros
    std::vector<std::uint32_t> counts;          // of each feature four, as ForwardResponse has them
    std::uint64_t checkpoint_id = 0;            // of the checkpoint that all rows come from
    std::uint64_t epoch = 0;                    // that all rows are of; 0: there is a server that follows no epochs
    std::uint64_t variant = 0;                  // whose rows went first
    double asking_seconds = 0;                  // from the first request to the last answer
};

class Router;

// The lookup of one batch. Thread safety: for one thread at a time.
class Lookup {
  public:
    Lookup(const Lookup&) = delete;
    Lookup& operator=(const Lookup&) = delete;

    // The numbers of the room are not there before finish().
    const std::shared_ptr<const Room>& room() const { return room_; }

    // Waits for the answers, and fills the room. Throws grpc::CallFailed: UNAVAILABLE for a shard that does not answer,
    // DEADLINE_EXCEEDED, or what a server has refused it with. REQUIRES: it was not called before.
    LookupResult finish(const OnWait& on_wait = {});

  private:
    friend class Router;

    // What a shard was asked for, and its answer.
    struct Asked {
        std::size_t shard;
        std::size_t answer_size;  // numbers of four bytes
        std::size_t parts;
        wire::LookupResponse response = {};  // of the message, which is
        grpc::ReceivedMessage message = {};  // empty: it has not answered
        bool answered = false;
    };

    Lookup(std::shared_ptr<const Router> router, AskingTurns::Turn turn, Plan plan, Clock::time_point end,
           std::shared_ptr<grpc::MemoryBudget> budget, std::uint64_t min_epoch, const wire::RowsFor& rows_for,
           tracing::SpanPtr span);

    void begin();
    void make_room();
    void ask();
    int ask_until_of_one_epoch(const OnWait& on_wait);
    LookupResult take_result(const OnWait& on_wait);
    bool take_answers(bool may_ask_again);
    bool are_of_one_checkpoint() const;
    bool are_of_one_epoch();
    void wait_for_epoch_to_read(Clock::time_point since, const OnWait& on_wait) const;
    const char* why_not_of_one_epoch() const;
    LookupResult assemble();

    const std::shared_ptr<const Router> router_;
    tracing::SpanPtr span_;   // ends with the result, or with the error
    AskingTurns::Turn turn_;  // ends with the last answer
    const std::shared_ptr<const Plan> plan_;
    const Clock::time_point end_;
    const std::shared_ptr<grpc::MemoryBudget> budget_;  // null: there is none
    const std::uint64_t min_epoch_;
    const wire::RowsFor rows_for_;               // not said: any epoch will do
    const std::shared_ptr<EpochChoice> choice_;  // for these
    std::uint64_t epoch_ = 0;                    // that is asked for, and then that of the answers
    std::shared_ptr<const Room> room_;
    std::vector<Asked> asked_;  // those shards that have something to answer
    std::optional<Asking> asking_;
    Clock::time_point began_;
};

// Thread safety: any thread may call all of it.
class Router : public std::enable_shared_from_this<Router> {
  public:
    // How often a lookup is begun at most, if its answers are of different checkpoints or epochs.
    static constexpr int kMaxAttempts = 3;
    // The share of its time after which a lookup that may do so goes on without the shards that have not answered.
    static constexpr double kShareWithout = 0.8;

    // shards: in order.
    Router(std::shared_ptr<const Slots> slots, std::vector<std::shared_ptr<ReplicaSet>> shards, const RouterOptions& options);

    // Plans the lookup, and sends the requests. seconds: how long it may take. budget: holds the memory of the tensors and of
    // the shards' answers; null: there is no budget. turn: ends with the last answer.
    // min_epoch: the rows are to be of that epoch or a later one. rows_for: and of one that may be read for these; where it
    // names no dense model, for the router's own. caller: the lookup is a span, and so is each time that a server is asked.
    // Throws InvalidInput, FeatureError and TooLarge for a batch that does not fit the slots or a limit, and grpc::CallFailed
    // if the tensors do not fit the budget.
    std::unique_ptr<Lookup> begin(const Batch& batch, double seconds, std::shared_ptr<grpc::MemoryBudget> budget = nullptr,
                                  AskingTurns::Turn turn = {}, std::uint64_t min_epoch = 0, const wire::RowsFor& rows_for = {},
                                  const tracing::CallerPtr& caller = nullptr) const;

    // Of all for whom lookups ask here.
    EpochChoices& epochs() { return epochs_; }

    // For those who begin lookups in this process, and whom nobody else keeps from beginning too many at once.
    AskingTurns& turns() { return turns_; }

    void settle(Settled settled);
    std::shared_ptr<const Settled> settled() const;

    const Slots& slots() const { return *slots_; }
    const std::vector<std::shared_ptr<ReplicaSet>>& shards() const { return shards_; }
    const RouterOptions& options() const { return options_; }
    // The counts of all lookups, by the names of the slots.
    FeatureCounts& feature_counts() const { return counts_; }

  private:
    friend class Lookup;

    std::string why_no_answer(const Lookup::Asked& asked, const wire::LookupResponse& response, std::uint64_t variant) const;
    bool can_do_without(const CallError& error) const;

    const std::shared_ptr<const Slots> slots_;
    const std::vector<std::shared_ptr<ReplicaSet>> shards_;
    const RouterOptions options_;
    mutable FeatureCounts counts_;
    mutable EpochChoices epochs_;
    AskingTurns turns_;
    mutable std::mutex mutex_;
    std::shared_ptr<const Settled> settled_;
};

}  // namespace persia::routing
