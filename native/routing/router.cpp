#include "routing/router.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <utility>

namespace persia::routing {

namespace {

constexpr double kLongest = 1e6;  // seconds: more than anybody waits

Clock::duration duration_of(double seconds) {
    return std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(seconds > 0 ? std::min(seconds, kLongest) : 0));
}

std::vector<std::string> names_of(const Slots& slots) {
    std::vector<std::string> names;
    for (const Slot& slot : slots.all()) names.push_back(slot.name);
    return names;
}

std::string checkpoint_name(std::uint64_t id) {
    char name[17];
    std::snprintf(name, sizeof(name), "%016llx", static_cast<unsigned long long>(id));
    return name;
}

}  // namespace

Router::Router(std::shared_ptr<const Slots> slots, std::vector<std::shared_ptr<ReplicaSet>> shards,
               const RouterOptions& options)
    : slots_(std::move(slots)), shards_(std::move(shards)), options_(options), counts_(names_of(*slots_)),
      epochs_(options.rows_for), turns_(AskingTurns::kBytesForServer * shards_.size()),
      settled_(std::make_shared<const Settled>()) {}

void Router::settle(Settled settled) {
    auto now = std::make_shared<const Settled>(std::move(settled));
    const std::lock_guard lock(mutex_);
    settled_.swap(now);
}

std::shared_ptr<const Settled> Router::settled() const {
    const std::lock_guard lock(mutex_);
    return settled_;
}

std::unique_ptr<Lookup> Router::begin(const Batch& batch, double seconds, std::shared_ptr<grpc::MemoryBudget> budget,
                                      AskingTurns::Turn turn, std::uint64_t min_epoch, const wire::RowsFor& rows_for,
                                      const tracing::CallerPtr& caller) const {
    // What is left when a shard is given up must do for an answer without it.
    const Clock::time_point end =
        Clock::now() + duration_of(options_.zeros_for_missing_shards ? kShareWithout * seconds : seconds);
    tracing::SpanPtr span = tracing::begin_span(caller, "persia.route", tracing::SpanKind::internal);
    Plan plan = tracing::within(span, [&] {
        return make_plan(batch, *slots_, static_cast<std::uint32_t>(std::min<std::size_t>(shards_.size(), kMaxShards + 1)));
    });
    wire::RowsFor whom = rows_for.model != 0 ? rows_for : options_.rows_for;
    whom.variant = rows_for.variant;
    std::unique_ptr<Lookup> lookup(new Lookup(shared_from_this(), std::move(turn), std::move(plan), end, std::move(budget),
                                              min_epoch, whom, std::move(span)));
    lookup->begin();
    return lookup;
}

// Why a server's message is no answer to what it was asked; empty: it is one.
std::string Router::why_no_answer(const Lookup::Asked& asked, const wire::LookupResponse& response,
                                  std::uint64_t variant) const {
    const auto settled = this->settled();
    const wire::LookupFacts& facts = response.facts();
    // A server may have been started anew since it was probed. Epochs may have checkpoints of their own: of these answers the
    // lookup only wants that all are of one.
    if (facts.epoch_high == 0 && facts.checkpoint_id != settled->checkpoint_id) {
        return "expected one of checkpoint " + checkpoint_name(settled->checkpoint_id) + ", got one of " +
               checkpoint_name(facts.checkpoint_id);
    }
    if (const std::size_t expected = sizeof(RunMisses) * asked.parts, got = response.misses().size();
        got != 0 && got != expected) {
        return "expected misses of " + std::to_string(asked.parts) + " parts in " + std::to_string(expected) + " bytes, got " +
               std::to_string(got);
    }
    // Lookups may come to another server than probes: where ports are forwarded, or another one has taken its place since.
    if (const auto& known = settled->known_starts; known && !std::ranges::binary_search(*known, facts.server_start)) {
        return "of a server that the middleware does not ask";
    }
    if (facts.epoch == 0 && facts.epoch_high != 0) return {};  // it has not the epoch, and says which ones it has
    if (facts.variant != variant) return "expected rows of a variant, got rows of none from a server that knows no variants";
    if (const std::size_t got = response.size_bytes(); got != sizeof(float) * asked.answer_size) {
        return "expected " + std::to_string(asked.answer_size) + " numbers of 4 bytes, got " + std::to_string(got) + " bytes";
    }
    return {};
}

bool Router::can_do_without(const CallError& error) const {
    return options_.zeros_for_missing_shards &&
           (error.status.code == grpc::Code::unavailable || error.status.code == grpc::Code::deadline_exceeded);
}

}  // namespace persia::routing
