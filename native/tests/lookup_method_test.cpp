#include "serving/lookup_method.hpp"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "one_shard.hpp"

using namespace persia;
using grpc::Code;

namespace {

constexpr std::size_t code_of(Code code) { return static_cast<std::size_t>(code); }

std::string refusal(OneShard& shard, const Bytes& message, Code code) {
    const auto call = call_with(*shard.method, message);
    CHECK(call->ended && !call->sent && call->status.code == code);
    return call->status.message;
}

std::vector<std::uint64_t> many_signs(std::size_t n) { return std::vector<std::uint64_t>(n, 1); }

}  // namespace

TEST(requests_are_answered_as_a_naive_loop_does) {
    OneShard shard;
    const auto snapshot = shard.table->pin();
    for (const Wire& columns : valid_requests()) {
        for (const Bytes& message : {aligned_message(columns), plain_message(columns)}) {
            const auto call = call_with(*shard.method, message);
            CHECK(call->ended && call->status.ok() && call->sent);
            wire::LookupRequest request(message);
            CHECK(is_answer(joined(*call->sent), *snapshot, request.view()));
        }
    }
    CHECK(call_with(*shard.method, {})->status.ok());  // of any shard, for nothing
}

TEST(a_request_for_any_shard_is_answered_and_one_for_another_is_refused) {
    OneShard shard;
    const Wire columns = request_for(AnswerKind::rows, 4, {0, 8});
    CHECK(call_with(*shard.method, plain_message(columns, {0, 0}))->status.ok());
    CHECK(refusal(shard, plain_message(columns, {2, 3}), Code::unavailable) == "expected shard 2 of 3, got shard 1 of 3");
    CHECK(refusal(shard, plain_message(columns, {1, 4}), Code::unavailable) == "expected shard 1 of 4, got shard 1 of 3");
}

TEST(a_shard_that_is_not_ready_says_what_it_does) {
    OneShard shard;
    const Bytes message = plain_message(request_for(AnswerKind::rows, 4, {0}));
    shard.context->close();
    CHECK(refusal(shard, message, Code::unavailable) == "the shard is not ready, it is starting");
    shard.context->set_state("loading /checkpoint");
    CHECK(refusal(shard, message, Code::unavailable) == "the shard is not ready, it is loading /checkpoint");
    shard.context->open(*shard.table, kCheckpoint);
    CHECK(call_with(*shard.method, message)->status.ok());
}

TEST(wrong_columns_are_refused) {
    OneShard shard;
    const auto with = [](AnswerKind kind, std::uint32_t dim) { return plain_message(request_for(kind, dim, {1, 2})); };
    CHECK(refusal(shard, with(static_cast<AnswerKind>(4), 4), Code::invalid_argument) ==
          "expected an answer kind of 0 to 3, got 4");
    CHECK(refusal(shard, with(AnswerKind::rows, 0), Code::invalid_argument) == "expected a dim of 1 to 65535, got 0");
    Wire columns = request_for(AnswerKind::rows, 4, {1, 2});
    columns.columns[1].resize(8);
    CHECK(refusal(shard, plain_message(columns), Code::invalid_argument) == "expected 2 signs, got 1");
    columns.columns[1].resize(9);
    CHECK(refusal(shard, plain_message(columns), Code::invalid_argument) == "expected signs in items of 8 bytes, got 9 bytes");
    CHECK(
        refusal(shard, bytes_of_hex("12ff"), Code::invalid_argument).starts_with("at byte 1: expected the length of a field"));
}

TEST(what_is_too_large_is_refused_with_both_numbers) {
    OneShard shard;
    const Bytes message = plain_message(request_for(AnswerKind::rows, 100, many_signs(201)));
    CHECK(refusal(shard, message, Code::resource_exhausted) ==
          "expected an answer of at most 20000 numbers, got a request for at least 20100");
    CHECK(call_with(*shard.method, message)->trailers.empty());  // it need not be tried again
}

TEST(an_answer_takes_of_the_servers_memory_until_it_is_sent) {
    OneShard shard;
    const auto budget = std::make_shared<grpc::MemoryBudget>(100'000);
    const Bytes message = plain_message(request_for(AnswerKind::rows, 100, many_signs(150)));
    {
        const auto call = call_with(*shard.method, message, budget);
        CHECK(call->status.ok() && budget->used() >= 60'000);
        const auto refused = call_with(*shard.method, message, budget);
        CHECK(refused->status.code == Code::resource_exhausted && refused->status.message.starts_with("expected memory for"));
        CHECK((refused->trailers == grpc::Metadata{{"grpc-retry-pushback-ms", "20"}}));
    }
    CHECK(budget->used() == 0);
    CHECK(call_with(*shard.method, message, budget)->status.ok());
}

TEST(a_small_answer_does_so_too) {
    OneShard shard;
    const auto budget = std::make_shared<grpc::MemoryBudget>(100'000);
    {
        const auto call = call_with(*shard.method, plain_message(request_for(AnswerKind::rows, 4, {0})), budget);
        CHECK(call->status.ok() && budget->used() >= 16);
    }
    CHECK(budget->used() == 0);
}

TEST(the_copy_of_columns_that_are_not_aligned_counts_as_well) {
    OneShard shard;
    const auto budget = std::make_shared<grpc::MemoryBudget>(4'000);
    // Small rows of many signs: the copy is what takes memory.
    const Wire columns = request_for(AnswerKind::halves, 1, many_signs(1'000));
    CHECK(call_with(*shard.method, aligned_message(columns), budget)->status.ok());
    CHECK(call_with(*shard.method, plain_message(columns), budget)->status.code == Code::resource_exhausted);
    // Also before anybody knows whether the columns are right.
    Wire wrong = columns;
    wrong.columns[1].resize(8 * 999);
    CHECK(call_with(*shard.method, aligned_message(wrong), budget)->status.code == Code::invalid_argument);
    CHECK(call_with(*shard.method, plain_message(wrong), budget)->status.code == Code::resource_exhausted);
}

TEST(large_numbers_are_sent_from_where_they_were_written) {
    OneShard shard;
    const auto call = call_with(*shard.method, plain_message(request_for(AnswerKind::rows, 100, many_signs(150))));
    const auto pieces = call->sent->pieces();
    CHECK(pieces.size() == 2 && pieces[1].bytes.size() == 60'000);
}

TEST(what_nobody_waits_for_is_dropped) {
    OneShard shard;
    const auto call = std::make_shared<FakeCall>();
    call->ended = true;
    shard.method->on_message(call, received(plain_message(request_for(AnswerKind::rows, 4, {0}))));
    CHECK(!call->sent);
    CHECK(shard.context->totals().lookups == 0 && shard.context->calls().totals().dropped == 1);
    CHECK(shard.context->calls().totals().by_code[0] == 0);
}

TEST(lookups_and_failures_are_counted) {
    OneShard shard;
    Wire columns = request_for(AnswerKind::rows, 4, {0, 4, 1, 1000});  // there, absent, of dim 5, absent
    const std::uint32_t feature = feature_id("a");
    std::memcpy(columns.columns[0].data(), &feature, sizeof(feature));
    CHECK(call_with(*shard.method, plain_message(columns))->status.ok());
    static_cast<void>(refusal(shard, plain_message(columns, {0, 2}), Code::unavailable));
    static_cast<void>(refusal(shard, bytes_of_hex("12ff"), Code::invalid_argument));
    const auto totals = shard.context->totals();
    CHECK(totals.lookups == 1 && totals.signs == 4 && totals.misses.absent == 2 && totals.misses.wrong_dim == 1);
    const auto features = shard.context->features().totals();
    CHECK(features[0].ids == 4 && features[0].misses.absent == 2 && features[0].misses.wrong_dim == 1);
    const auto calls = shard.context->calls().totals();
    CHECK(calls.by_code[code_of(Code::ok)] == 1 && calls.by_code[code_of(Code::unavailable)] == 1);
    CHECK(calls.by_code[code_of(Code::invalid_argument)] == 1 && calls.dropped == 0);
    std::uint64_t taken = calls.seconds.beyond;
    for (const std::uint64_t within : calls.seconds.within) taken += within;
    CHECK(taken == 3 && calls.seconds.within.size() == 4 && calls.seconds.nanoseconds > 0);
}

TEST(work_is_what_is_read_and_written) {
    OneShard shard;
    const Bytes message = plain_message(request_for(AnswerKind::rows, 100, many_signs(150)));
    CHECK(shard.method->work_of(received(message)) == message.size() + 60'000);
    CHECK(shard.method->work_of(received({})) == 0);
    CHECK(shard.method->work_of(received(bytes_of_hex("12ff"))) == 2);
    // More than there are numbers of 64 bits for, if it were added up.
    const RequestPart large{0, AnswerKind::sums, 65'535, 0xffffffff, 0, 0};
    const Wire columns{{bytes_of(std::vector<RequestPart>(100'000, large)), {}, {}, {}}};
    CHECK(shard.method->work_of(received(plain_message(columns))) > 100'000 * grpc::kMaxMessageBytes);
}

TEST(many_threads_look_up_while_the_table_changes_and_comes_and_goes) {
    OneShard shard;
    const Bytes message = aligned_message(request_for(AnswerKind::rows, 4, range(0, 100)));
    std::atomic<bool> stop = false;
    std::atomic<std::size_t> answered = 0, refused = 0, others = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&] {
            while (!stop) {
                const auto call = call_with(*shard.method, message);
                ++(call->status.ok() ? answered : call->status.code == Code::unavailable ? refused : others);
            }
        });
    }
    for (int i = 0; i < 100 || answered < 100 || refused < 10; ++i) {
        shard.table->publish(layer_of(0, 50, 4, static_cast<float>(i)));
        shard.context->close();
        shard.context->set_state("round " + std::to_string(i));
        std::this_thread::yield();
        shard.context->open(*shard.table, kCheckpoint);
        static_cast<void>(shard.context->totals());
        static_cast<void>(shard.context->calls().totals());
        std::this_thread::yield();
    }
    stop = true;
    for (std::thread& thread : threads) thread.join();
    CHECK(others == 0);
    CHECK(shard.context->totals().lookups == answered);
    CHECK(shard.context->calls().totals().by_code[code_of(Code::unavailable)] == refused);
}
