#include "serving/forward_method.hpp"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "batch/id_part.hpp"
#include "grpc/call_failed.hpp"
#include "serving/call_span.hpp"
#include "serving/failure.hpp"
#include "serving/reserve.hpp"

namespace persia::serving {

namespace {

using grpc::Code;
constexpr auto kRelaxed = std::memory_order_relaxed;  // each figure stands for itself

// A batch's columns, the plan for them and the requests: so many times the bytes of its ids.
constexpr std::size_t kPlanFactor = 4;
// A lookup waits for shards, and so is more work than its bytes say.
constexpr std::size_t kWaitBytes = 256 << 10;
// How often it looks meanwhile whether its caller still waits.
constexpr std::chrono::milliseconds kLook{10};

// REQUIRES: the message outlives the batch.
Batch decode(const wire::ForwardRequest& request) {
    if (request.batch.empty() == request.ids.empty()) {
        throw InvalidInput(std::string("expected either a batch or its ids, got ") +
                           (request.batch.empty() ? "neither" : "both"));
    }
    Batch batch = request.ids.empty() ? decode_batch(request.batch) : decode_ids(request.ids);
    if (!batch.has_ids) throw InvalidInput("the batch has no id features");
    return batch;
}

// Whoever does not say that it takes numbers of f32 would take them for f16.
void check_takes_tensors(const wire::ForwardRequest& request, const Batch& batch, const Slots& slots) {
    if (request.takes_floats) return;
    for (const FeatureView& feature : batch.features) {
        if (const Slot* slot = slots.find(feature.name); slot != nullptr && slot->f32) {
            throw FeatureError(slot->name,
                               "the embedding config has `output: f32`, whose tensors this client is too old to take: "
                               "update the client");
        }
    }
}

}  // namespace

void ForwardCounts::add(const routing::LookupResult& result) {
    variants_.add(result.variant);
    asking_.add(result.asking_seconds);
    if (result.misses.absent != 0) absent_.fetch_add(result.misses.absent, kRelaxed);
    if (result.misses.wrong_dim != 0) wrong_dim_.fetch_add(result.misses.wrong_dim, kRelaxed);
    if (!result.missing_shards.empty()) without_shard_.fetch_add(1, kRelaxed);
}

ForwardCounts::Totals ForwardCounts::totals() const {
    return {asking_.totals(), {absent_.load(kRelaxed), wrong_dim_.load(kRelaxed)}, without_shard_.load(kRelaxed)};
}

ForwardMethod::ForwardMethod(std::shared_ptr<const routing::Router> router, std::uint64_t embedding_config_id, double seconds,
                             std::shared_ptr<ForwardCounts> counts, std::shared_ptr<tracing::SpanRing> spans)
    : router_(std::move(router)), embedding_config_id_(embedding_config_id), seconds_(seconds), counts_(std::move(counts)),
      spans_(std::move(spans)) {}

void ForwardMethod::on_message(const grpc::ServerCallPtr& call, grpc::ReceivedMessage message) {
    if (call->has_ended()) return counts_->calls().add_dropped();
    const grpc::Clock::time_point began = grpc::Clock::now();
    const tracing::SpanPtr span = begin_call_span(spans_, call->info(), "persia.forward");
    try {
        grpc::OutgoingMessage reply = answer(*call, message, span);
        counts_->calls().add(Code::ok, began);
        set_status(span, {});
        call->reply(std::move(reply));
    } catch (...) {
        Failure failure = current_failure();
        set_status(span, failure.status);
        counts_->calls().add(failure.status.code, began);
        call->finish(std::move(failure.status), std::move(failure.trailers));
    }
}

grpc::OutgoingMessage ForwardMethod::answer(grpc::ServerCall& call, const grpc::ReceivedMessage& message,
                                            const tracing::SpanPtr& span) {
    const wire::ForwardRequest request = wire::decode_forward_request(message.bytes());
    double seconds = request.timeout_ms != 0 ? request.timeout_ms / 1e3 : seconds_;
    if (const auto& deadline = call.info().deadline) {
        const double left = std::chrono::duration<double>(*deadline - grpc::Clock::now()).count();
        seconds = request.timeout_ms != 0 ? std::min(seconds, left) : left;
    }
    grpc::Reservation planning;
    reserve(call, planning, kPlanFactor * message.size());
    const Batch batch = decode(request);
    check_takes_tensors(request, batch, router_->slots());
    const auto lookup = router_->begin(batch, seconds, planning.budget(), {}, request.min_epoch, request.rows_for,
                                       span ? span->caller() : nullptr);
    const auto& room = lookup->room();
    const auto stop_for_nobody = [&] {
        if (call.has_ended()) throw grpc::CallFailed({Code::cancelled, "nobody waits for the answer any more"});
    };
    routing::LookupResult result = lookup->finish({.look = stop_for_nobody, .every = kLook});
    counts_->add(result);
    const wire::ForwardFacts facts{std::move(result.versions),
                                   result.misses,
                                   {result.missing_shards.begin(), result.missing_shards.end()},
                                   embedding_config_id_,
                                   result.checkpoint_id,
                                   result.epoch,
                                   result.variant};
    return wire::encode_forward_response(facts, result.counts, room->all(), room->tensors.shapes, room);
}

std::size_t ForwardMethod::work_of(const grpc::ReceivedMessage& message) const {
    return kWaitBytes + kPlanFactor * message.size();
}

}  // namespace persia::serving
