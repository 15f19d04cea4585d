// From a batch to tensors: what a plan asks, what a shard refuses, and what becomes of the answers.
#include "plan/assemble.hpp"

#include <cmath>
#include <optional>
#include <vector>

#include "base/error.hpp"
#include "base/half.hpp"
#include "check.hpp"
#include "tables.hpp"

using namespace persia;

namespace {

constexpr std::uint32_t kDim = 4;

struct Sample {
    std::uint64_t id;
    std::vector<Position> positions;
};

// A batch of one feature, "f".
Batch batch_of(const std::vector<Sample>& entries, std::uint16_t batch_size) {
    Batch batch;
    batch.has_ids = true;
    batch.position_offsets.push_back(0);
    batch.ids_per_sample.assign(batch_size, 0);
    for (const auto& [id, positions] : entries) {
        batch.ids.push_back(id);
        batch.positions.insert(batch.positions.end(), positions.begin(), positions.end());
        batch.position_offsets.push_back(static_cast<std::uint32_t>(batch.positions.size()));
        for (const Position& position : positions) ++batch.ids_per_sample[position.sample];
    }
    batch.features.push_back({"f", batch_size, 0, batch.ids.size(), 0});
    return batch;
}

Slots slots_of(Slot slot) {
    slot.dim = kDim;
    return Slots({slot}, 8);
}

// One tensor, of the only feature. `missing`: the shard that does not answer.
std::vector<float> tensor_of(const Plan& plan, const std::vector<std::unique_ptr<Table>>& tables,
                             std::optional<std::size_t> missing = {}) {
    std::vector<std::vector<float>> answers(tables.size());
    for (std::size_t s = 0; s < tables.size(); ++s) {
        if (s == missing) continue;
        const RequestView request = plan.shards[s].view();
        check_request(request, 1 << 20);
        answers[s].resize(request.answer_size());
        answer(*tables[s]->pin(), request, answers[s].data());
    }
    const std::size_t size = tensor_shape(plan.features[0]).size();
    std::vector<std::uint16_t> halves(size);
    std::uint16_t* const outs[] = {halves.data()};
    const std::vector<std::span<const float>> columns(answers.begin(), answers.end());
    assemble(plan, columns, outs);
    std::vector<float> tensor(size);
    from_half(halves.data(), tensor.data(), size);
    return tensor;
}

std::vector<std::unique_ptr<Table>> tables_of(std::uint32_t shards, std::uint64_t signs) {
    std::vector<std::unique_ptr<Table>> tables;
    for (std::uint32_t s = 0; s < shards; ++s) {
        tables.push_back(std::make_unique<Table>(*filled({}, 0, signs, kDim, 1.0F, {s, shards})));
    }
    return tables;
}

}  // namespace

TEST(a_hash_stack_without_summation_adds_its_rounds) {
    const Slots slots = slots_of({.name = "f",
                                  .sample_fixed_size = 2,
                                  .summation = false,
                                  .sqrt_scaling = true,
                                  .hash_stack_rounds = 3,
                                  .hash_stack_size = 5});
    const Batch batch = batch_of({{7, {{0, 0}, {1, 2}}}, {99, {{1, 1}}}}, 2);
    for (const std::uint32_t shards : {1U, 3U}) {
        const std::vector<float> tensor = tensor_of(make_plan(batch, slots, shards), tables_of(shards, 15));
        const auto expected = [](std::uint64_t id) {
            float sum = 0;
            for (std::uint64_t round = 0; round < 3; ++round) {
                id = farmhash64(id);
                sum += value(id % 5 + round * 5, 1.0F);
            }
            return sum / std::sqrt(3.0F);
        };
        const auto at = [&](std::size_t sample, std::size_t column, std::size_t k) {
            return tensor[(sample * 2 + column) * (kDim + 1) + k];
        };
        CHECK(std::fabs(at(0, 0, 1) - expected(7)) < 0.02F);
        CHECK(std::fabs(at(1, 1, 1) - expected(99)) < 0.02F);
        CHECK(at(0, 0, kDim) == 1.0F);
        CHECK(at(1, 1, kDim) == 1.0F);
        CHECK(at(0, 1, kDim) == 0.0F);  // no id stands there
        CHECK(at(1, 0, 0) == 0.0F);     // column 2 is cut off, not wrapped round
    }
}

TEST(a_hash_stack_with_summation_scales_by_ids_times_rounds) {
    const Slots slots = slots_of({.name = "f", .sqrt_scaling = true, .hash_stack_rounds = 2, .hash_stack_size = 1});
    const std::vector<float> tensor =
        tensor_of(make_plan(batch_of({{7, {{0, 0}}}, {8, {{0, 1}}}}, 1), slots, 1), tables_of(1, 2));
    CHECK(tensor[0] == (2 * value(0, 1.0F) + 2 * value(1, 1.0F)) / 2);
}

TEST(rows_and_sums_give_the_same_tensor) {
    const Slots slots = slots_of({.name = "f"});
    std::vector<Sample> few, many;
    for (std::uint64_t id = 0; id < 40; ++id) {
        const auto sample = static_cast<std::uint16_t>(id), column = static_cast<std::uint16_t>(2 * id);
        few.push_back({id, {{sample, 0}, {sample, 1}}});  // more samples than rows: rows are less
        many.push_back({id, {{0, column}, {0, static_cast<std::uint16_t>(column + 1)}}});
    }
    const auto tables = tables_of(2, 1'000);
    const Plan rows = make_plan(batch_of(few, 60), slots, 2), sums = make_plan(batch_of(many, 1), slots, 2);
    CHECK(rows.shards[0].parts[0].kind == AnswerKind::rows);
    CHECK(sums.shards[0].parts[0].kind == AnswerKind::sums);
    const std::vector<float> each = tensor_of(rows, tables), together = tensor_of(sums, tables);
    float total = 0;
    for (std::size_t sample = 0; sample < 60; ++sample) total += each[sample * kDim];
    CHECK(total == together[0]);
    CHECK(each[7 * kDim] == 2 * value(7, 1.0F));
}

TEST(the_rows_of_a_missing_shard_are_zeros_and_its_mask_stays) {
    const Batch batch = batch_of({{3, {{0, 0}}}}, 1);
    for (const bool summation : {true, false}) {
        const Slots slots = slots_of({.name = "f", .sample_fixed_size = 1, .summation = summation});
        const Plan plan = make_plan(batch, slots, 2);
        const std::vector<float> tensor = tensor_of(plan, tables_of(2, 10), shard_of(3, 2));
        for (std::size_t k = 0; k < kDim; ++k) CHECK(tensor[k] == 0.0F);
        if (!summation) CHECK(tensor[kDim] == 1.0F);
    }
}

TEST(what_a_plan_refuses) {
    const Slots slots = slots_of({.name = "f"});
    Batch batch = batch_of({{3, {{0, 0}}}}, 1);
    CHECK_THROWS(make_plan(batch, slots, 0), InvalidInput);
    CHECK_THROWS(make_plan(batch, slots, 65'536), InvalidInput);
    CHECK_THROWS(make_plan(batch, slots, 1, 3), TooLarge);
    batch.features[0].name = "g";
    CHECK_THROWS(make_plan(batch, slots, 1), FeatureError);
    batch = batch_of({{3, {{0, 0}}}}, 1);
    batch.features.push_back({"f", 2, 0, 0, 0});
    CHECK_THROWS(make_plan(batch, slots, 1), FeatureError);
    const Plan plan = make_plan(batch_of({{3, {{0, 0}}}}, 1), slots, 1);
    std::vector<std::uint16_t> out(kDim);
    std::uint16_t* const outs[] = {out.data()};
    const std::vector<float> answer(plan.shards[0].view().answer_size() + 1);
    const std::span<const float> columns[] = {answer, answer};
    CHECK_THROWS(assemble(plan, std::span(columns, 1), outs), InvalidInput);
    CHECK_THROWS(assemble(plan, columns, outs), InvalidInput);
}

TEST(places_times_rounds_do_not_overflow) {
    // 65,535 rounds of 65,538 places are 2^32 and a few: in 32 bits, a few.
    const Slots slots = slots_of({.name = "f", .hash_stack_rounds = 65'535, .hash_stack_size = 1'000});
    const std::vector<Position> positions(65'538);
    CHECK_THROWS(make_plan(batch_of({{3, positions}}, 1), slots, 1), FeatureError);
}

TEST(what_a_shard_refuses) {
    const std::vector<std::uint64_t> signs{1, 2};
    const std::vector<std::uint32_t> counts{1, 2};
    const std::vector<std::uint16_t> samples{0, 1, 1};
    const RequestPart good{0, AnswerKind::sums, kDim, 2, 2, 3};
    const auto check = [&](const RequestPart& part, std::size_t max_numbers = 100) {
        check_request({std::span(&part, 1), signs, counts, samples}, max_numbers);
    };
    const auto with = [&](auto change) {
        RequestPart part = good;
        change(part);
        return part;
    };
    check(good);
    CHECK_THROWS(check(with([](RequestPart& part) { part.kind = static_cast<AnswerKind>(3); })), InvalidInput);
    CHECK_THROWS(check(with([](RequestPart& part) { part.kind = AnswerKind::halves; })), InvalidInput);  // has no counts
    CHECK_THROWS(check(with([](RequestPart& part) { part.dim = 0; })), InvalidInput);
    CHECK_THROWS(check(with([](RequestPart& part) { part.dim = 65'536; })), InvalidInput);
    CHECK_THROWS(check(with([](RequestPart& part) { part.samples = 1; })), InvalidInput);  // sample 1 has no room
    CHECK_THROWS(check(with([](RequestPart& part) { part.signs = 1; })), InvalidInput);
    CHECK_THROWS(check(with([](RequestPart& part) { part.signs = 3; })), InvalidInput);
    CHECK_THROWS(check(with([](RequestPart& part) { part.positions = 2; })), InvalidInput);
    CHECK_THROWS(check(with([](RequestPart& part) { part.positions = 4; })), InvalidInput);
    CHECK_THROWS(check(with([](RequestPart& part) { part.kind = AnswerKind::rows; })), InvalidInput);
    CHECK_THROWS(check(good, 7), TooLarge);
    check(good, 8);
    CHECK_THROWS(check_request({std::span(&good, 1), signs, std::vector<std::uint32_t>{1, 1}, samples}, 100), InvalidInput);
    CHECK_THROWS(check_request({std::span(&good, 1), signs, std::vector<std::uint32_t>{3, 0xffffffffU}, samples}, 100),
                 InvalidInput);
}
