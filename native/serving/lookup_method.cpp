#include "serving/lookup_method.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "grpc/call_failed.hpp"
#include "serving/call_span.hpp"
#include "serving/failure.hpp"
#include "serving/reserve.hpp"
#include "wire/lookup.hpp"

namespace persia::serving {

namespace {

using grpc::Code;

// What a thread keeps of the memory for misses.
constexpr std::size_t kKeptMisses = 4096;

// An answer's numbers until they are sent, and what they take of the server's memory.
struct Numbers {
    grpc::Reservation reservation;
    std::unique_ptr<float[]> values;
};

std::string text_of(const wire::ShardPlace& place) {
    return "shard " + std::to_string(place.index) + " of " + std::to_string(place.count);
}

void expect_place(const wire::ShardPlace& expected, const wire::ShardPlace& got) {
    if (expected.count == 0 || expected == got) return;
    throw grpc::CallFailed({Code::unavailable, "expected " + text_of(expected) + ", got " + text_of(got)});
}

// Nobody who asks for a variant gets the rows of another one, or of none.
[[noreturn]] void refuse_variant(const ReadableEpochs& readable) {
    throw grpc::CallFailed(
        {Code::not_found, "expected a variant of the newest epoch (" + readable.variant_names() + "), got another one"});
}

void describe(tracing::Span& span, const wire::LookupFacts& facts, std::size_t ids) {
    const auto all = static_cast<std::int64_t>(ids);
    span.set("persia.ids", all);
    span.set("persia.rows", all - static_cast<std::int64_t>(facts.misses.absent + facts.misses.wrong_dim));
    span.set("persia.epoch", static_cast<std::int64_t>(facts.epoch));
}

// Beside the numbers: a run and the misses of each part, the latter also as they are sent.
std::size_t bytes_beside_numbers(const RequestView& request) {
    return request.parts.size() * (sizeof(Run) + 2 * sizeof(RunMisses));
}

}  // namespace

LookupMethod::LookupMethod(std::shared_ptr<LookupContext> context, std::shared_ptr<tracing::SpanRing> spans)
    : context_(std::move(context)), spans_(std::move(spans)) {}

void LookupMethod::on_message(const grpc::ServerCallPtr& call, grpc::ReceivedMessage message) {
    if (call->has_ended()) return context_->calls().add_dropped();
    const grpc::Clock::time_point began = grpc::Clock::now();
    const tracing::SpanPtr span = begin_call_span(spans_, call->info(), "persia.shard");
    try {
        grpc::OutgoingMessage reply = answer(*call, message, span);
        context_->calls().add(Code::ok, began);
        set_status(span, {});
        call->reply(std::move(reply));
    } catch (...) {
        Failure failure = current_failure();
        set_status(span, failure.status);
        context_->calls().add(failure.status.code, began);
        call->finish(std::move(failure.status), std::move(failure.trailers));
    }
}

grpc::OutgoingMessage LookupMethod::answer(grpc::ServerCall& call, const grpc::ReceivedMessage& message,
                                           const tracing::SpanPtr& span) {
    wire::LookupRequest request(message.bytes());
    if (span) span->set("persia.shard", std::int64_t{context_->place().index});
    expect_place(request.place(), context_->place());
    const Table& table = open_table();
    wire::LookupFacts facts{.server_start = context_->server_start(), .checkpoint_id = context_->checkpoint_of(0)};
    const auto numbers = std::make_shared<Numbers>();
    reserve(call, numbers->reservation, request.bytes_to_copy());
    const RequestView columns = request.view();
    check_request(columns, context_->max_numbers());
    const std::size_t size = columns.answer_size();
    reserve(call, numbers->reservation, request.bytes_to_copy() + size * sizeof(float) + bytes_beside_numbers(columns));
    numbers->values = std::make_unique_for_overwrite<float[]>(size);
    thread_local std::vector<RunMisses> by_part;
    const grpc::Clock::time_point looking = span ? grpc::Clock::now() : grpc::Clock::time_point();
    {
        const Table::Pinned pinned = pin(table, request, facts);  // not held until a slow caller has taken its answer
        if (pinned.snapshot == nullptr) return wire::encode_lookup_response(facts, {}, {}, nullptr);
        facts.version = pinned.snapshot->version();
        facts.epoch = pinned.snapshot->epoch();
        facts.checkpoint_id = context_->checkpoint_of(facts.epoch);
        facts.variant = request.rows_for().variant;
        facts.misses = persia::answer(*pinned.snapshot, columns, numbers->values.get(), by_part, facts.variant);
    }
    if (span) {
        span->set("persia.table_seconds", seconds_since(looking));
        describe(*span, facts, columns.signs.size());
    }
    context_->count(columns.parts, facts.misses, by_part);
    context_->variants().add(facts.variant);
    grpc::OutgoingMessage reply =
        wire::encode_lookup_response(facts, by_part, std::as_bytes(std::span(numbers->values.get(), size)), numbers);
    if (by_part.capacity() > kKeptMisses) by_part = {};
    return reply;
}

// The epoch that is asked for, if the table has it and it may be read for whom the rows are; null: not so. Where none is asked
// for, it is the newest one that may be read. The facts say what there is.
Table::Pinned LookupMethod::pin(const Table& table, const wire::LookupRequest& request, wire::LookupFacts& facts) const {
    const wire::RowsFor& rows_for = request.rows_for();
    Table::Pinned pinned = table.pin_epoch(request.epoch());
    facts.epoch_low = pinned.epoch_low;
    facts.epoch_high = pinned.epoch_high;
    if (!rows_for.is_said()) return pinned;
    const auto readable = context_->readable();  // after the epochs, for it is said before them
    if (!readable->has_variant(rows_for.variant)) {
        context_->variants().add_unknown();
        refuse_variant(*readable);
    }
    if (pinned.epoch_high == 0) return pinned;
    facts.run = readable->newest_run(rows_for, pinned.epoch_low, pinned.epoch_high);
    if (request.epoch() != 0) {
        if (!readable->may_read(rows_for, request.epoch())) pinned.snapshot = nullptr;
    } else if (facts.run.last == 0) {
        pinned.snapshot = nullptr;
    } else if (facts.run.last != pinned.epoch_high) {
        pinned = table.pin_epoch(facts.run.last);
    }
    if (pinned.snapshot != nullptr && !pinned.snapshot->has_variant(rows_for.variant)) pinned.snapshot = nullptr;
    return pinned;
}

const Table& LookupMethod::open_table() const {
    if (const Table* table = context_->table()) return *table;
    throw grpc::CallFailed({Code::unavailable, "the shard is not ready, it is " + context_->state()});
}

std::size_t LookupMethod::work_of(const grpc::ReceivedMessage& message) const {
    try {
        return message.size() + wire::LookupRequest(message.bytes()).answer_bytes();
    } catch (const Error&) {
        return message.size();  // it will be refused
    }
}

}  // namespace persia::serving
