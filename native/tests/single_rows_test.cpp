// Features of which every number comes from one row are asked for halves, and no others; their tensors stay what they were.
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/half.hpp"
#include "batches.hpp"
#include "check.hpp"
#include "plan/assemble.hpp"
#include "tables.hpp"

using namespace persia;

namespace {

constexpr std::uint32_t kDim = 5;

Slot pooled() { return {.name = "a", .dim = kDim}; }
Slot raw() { return {.name = "a", .dim = kDim, .sample_fixed_size = 2, .summation = false}; }

Slot stacked(Slot slot) {
    slot.hash_stack_rounds = 2;
    slot.hash_stack_size = 20;
    return slot;
}

Plan plan_of(const Slots& slots, const Samples& samples, std::uint32_t shards) {
    const auto bytes = encoded({{slots.all()[0].name, samples}});
    return make_plan(decode_batch(bytes), slots, shards);
}

bool asks_for_halves(const Slot& slot, const Samples& samples, std::uint32_t shards = 3) {
    const Slots slots({slot}, 8);
    const Plan plan = plan_of(slots, samples, shards);
    std::size_t halves = 0, parts = 0;
    for (const PlannedRequest& request : plan.shards) {
        for (const RequestPart& part : request.parts) {
            ++parts;
            halves += part.kind == AnswerKind::halves;
        }
    }
    CHECK(parts != 0);
    CHECK(halves == 0 || halves == parts);
    return halves != 0;
}

// Rows with numbers of all sorts, -0.0 and those beyond f16 among them.
std::vector<float> row_of(std::uint64_t sign) {
    static const float numbers[] = {-0.0F,     1e30F,    -65'520.0F, 0.1F,
                                    -0x1p-26F, 1.0F / 3, 2'049.0F,   std::numeric_limits<float>::min()};
    std::vector<float> row(kDim);
    for (std::size_t k = 0; k < kDim; ++k) row[k] = numbers[(sign * 3 + k * 5 + sign / 8) % std::size(numbers)];
    return row;
}

bool has_row(std::uint64_t sign) { return sign < 90 && sign % 10 != 9; }

std::vector<std::unique_ptr<Table>> tables_of(RowStorage storage, std::uint32_t shards) {
    std::vector<std::unique_ptr<Table>> tables;
    for (std::uint32_t s = 0; s < shards; ++s) {
        TableBuilder builder({.storage = storage});
        for (std::uint64_t sign = 0; sign < 100; ++sign) {
            if (!has_row(sign)) continue;
            const std::vector<float> row = row_of(sign);
            RowBlock block;
            block.signs = {sign};
            block.dims = {kDim};
            block.values = {reinterpret_cast<const std::byte*>(row.data())};
            builder.put(block, {s, shards});
        }
        tables.push_back(std::make_unique<Table>(builder));
    }
    return tables;
}

// The plan as it would be if each number might come from several rows.
Plan with_rows(Plan plan) {
    for (PlannedRequest& request : plan.shards) {
        for (RequestPart& part : request.parts) part.kind = AnswerKind::rows;
    }
    return plan;
}

// The plan, with sums for every part of halves: their columns are those of the rows that were kept here.
Plan with_sums(Plan plan) {
    for (PlannedRequest& request : plan.shards) {
        for (RequestPart& part : request.parts) part.kind = AnswerKind::sums;
        request.sum_counts = std::exchange(request.row_counts, {});
        request.sum_samples = std::exchange(request.row_samples, {});
        request.row_columns.clear();
    }
    return plan;
}

std::vector<std::vector<float>> answers_of(const Plan& plan, const std::vector<std::unique_ptr<Table>>& tables,
                                           std::size_t missing = 99) {
    std::vector<std::vector<float>> answers(tables.size());
    for (std::size_t s = 0; s < tables.size(); ++s) {
        if (s == missing) continue;
        const RequestView request = plan.shards[s].view();
        check_request(request, 1 << 20);
        answers[s].assign(request.answer_size(), -1.0F);
        answer(*tables[s]->pin(), request, answers[s].data());
    }
    return answers;
}

using Tensor = std::vector<std::uint16_t>;

std::vector<Tensor> tensors_of(const Plan& plan, const std::vector<std::vector<float>>& answers) {
    std::vector<Tensor> tensors;
    std::vector<std::uint16_t*> outs;
    for (const PlannedFeature& feature : plan.features) {
        tensors.emplace_back(tensor_shape(feature).size(), 0x7777);
        outs.push_back(tensors.back().data());
    }
    const std::vector<std::span<const float>> columns(answers.begin(), answers.end());
    assemble(plan, columns, outs);
    return tensors;
}

Tensor tensor_of(const Plan& plan, const std::vector<std::vector<float>>& answers) { return tensors_of(plan, answers).front(); }

// Samples of one id each, but some of none, and ids that several samples share.
Samples single_samples() {
    Samples samples;
    for (std::uint64_t i = 0; i < 150; ++i) {
        samples.push_back({});
        if (i % 4 != 3) samples.back().push_back(i * 7 % 100);
    }
    return samples;
}

// Samples of one id each, so that every row of the tensor is one of the table.
Samples full_samples() {
    Samples samples;
    for (std::uint64_t i = 0; i < 150; ++i) samples.push_back({i * 7 % 100});
    return samples;
}

}  // namespace

TEST(at_most_one_id_in_every_sample_is_asked_for_in_halves) {
    CHECK(asks_for_halves(pooled(), {{1}}));
    CHECK(asks_for_halves(pooled(), {{1}, {}, {2}, {1}}));
    CHECK(asks_for_halves(pooled(), Samples(100, {1})));
    Slot scaled = pooled();
    scaled.sqrt_scaling = true;  // by the root of one
    CHECK(asks_for_halves(scaled, {{1}, {2}}));
}

TEST(two_ids_in_any_sample_are_not) {
    CHECK(!asks_for_halves(pooled(), {{1, 2}}));
    CHECK(!asks_for_halves(pooled(), {{1}, {2}, {3}, {4, 5}}));
    CHECK(!asks_for_halves(pooled(), {{4, 5}, {1}, {2}, {3}}));
    CHECK(!asks_for_halves(pooled(), {{1}, {7, 7}}));  // one id twice
}

TEST(raw_features_are_asked_for_in_halves_and_hash_stacks_are_not) {
    CHECK(asks_for_halves(raw(), {{1, 2, 3}, {4}}));
    CHECK(!asks_for_halves(stacked(raw()), {{1}, {2}}));
    CHECK(!asks_for_halves(stacked(pooled()), {{1}, {2}}));
}

TEST(each_feature_of_a_batch_is_judged_by_its_own_samples) {
    const Slots slots({{.name = "a", .dim = 2}, {.name = "b", .dim = 2}, {.name = "c", .dim = 2}}, 8);
    const auto bytes = encoded({{"a", {{1, 2}, {3}}}, {"b", {{1}, {3}}}, {"c", {{1}, {2, 3}}}});
    const Plan plan = make_plan(decode_batch(bytes), slots, 1);
    CHECK(plan.shards[0].parts[0].kind != AnswerKind::halves);
    CHECK(plan.shards[0].parts[1].kind == AnswerKind::halves);
    CHECK(plan.shards[0].parts[2].kind != AnswerKind::halves);
}

TEST(pooled_tensors_from_halves_are_those_from_rows_and_from_sums) {
    const Slots slots({pooled()}, 8);
    for (const RowStorage storage : {RowStorage::f32, RowStorage::f16, RowStorage::int8}) {
        for (const std::uint32_t shards : {1U, 3U}) {
            for (const Samples& samples : {single_samples(), full_samples()}) {
                const auto tables = tables_of(storage, shards);
                const Plan plan = plan_of(slots, samples, shards);
                const Plan rows = with_rows(plan), sums = with_sums(plan);
                const Tensor tensor = tensor_of(plan, answers_of(plan, tables));
                CHECK(tensor == tensor_of(rows, answers_of(rows, tables)));
                CHECK(tensor == tensor_of(sums, answers_of(sums, tables)));
                for (std::size_t shard = 0; shard < shards; ++shard) {
                    CHECK(tensor_of(plan, answers_of(plan, tables, shard)) == tensor_of(rows, answers_of(rows, tables, shard)));
                }
            }
        }
    }
}

TEST(features_of_all_kinds_in_one_batch_are_each_as_alone) {
    const std::vector<Slot> slots{raw(), pooled(), pooled(), stacked(raw()), stacked(pooled()), raw(), pooled()};
    const std::vector<Samples> samples{{{1, 2}, {}, {3}}, {{1}, {4}, {}},        {{5, 6, 7}, {8}, {1}}, {{2}, {3, 4}, {}},
                                       {{1}, {}, {9}},    {{7}, {5, 5}, {3, 2}}, {{6}, {7}, {8}}};
    std::vector<Slot> named;
    std::vector<std::pair<std::string, Samples>> features;
    for (std::size_t i = 0; i < slots.size(); ++i) {
        named.push_back(slots[i]);
        named.back().name = std::string(1, static_cast<char>('a' + i));
        features.emplace_back(named.back().name, samples[i]);
    }
    const auto bytes = encoded(features);
    const Slots together(named, 8);
    for (const std::uint32_t shards : {1U, 3U}) {
        const auto tables = tables_of(RowStorage::f32, shards);
        const Plan plan = make_plan(decode_batch(bytes), together, shards);
        const auto tensors = tensors_of(plan, answers_of(plan, tables));
        for (std::size_t i = 0; i < slots.size(); ++i) {
            const Slots own({slots[i]}, 8);
            const Plan alone = plan_of(own, samples[i], shards);
            CHECK(tensors[i] == tensor_of(alone, answers_of(alone, tables)));
        }
    }
}

TEST(raw_tensors_from_halves_are_the_rows_in_f16) {
    const Samples samples{{1, 2}, {}, {79, 80, 3}, {9, 5}, {1, 1}};
    const Slots slots({raw()}, 8);
    for (const std::uint32_t shards : {1U, 3U}) {
        const Plan plan = plan_of(slots, samples, shards);
        const Tensor tensor = tensor_of(plan, answers_of(plan, tables_of(RowStorage::f32, shards)));
        Tensor want(samples.size() * 2 * (kDim + 1));
        for (std::size_t i = 0; i < samples.size(); ++i) {
            for (std::size_t column = 0; column < samples[i].size() && column < 2; ++column) {
                std::uint16_t* place = want.data() + (i * 2 + column) * (kDim + 1);
                std::vector<float> row = row_of(samples[i][column]);
                for (float& number : row) number += 0.0F;
                if (has_row(samples[i][column])) to_half(row.data(), place, kDim);
                place[kDim] = 0x3c00;
            }
        }
        CHECK(tensor == want);
    }
}

TEST(where_ids_stand_decides_and_not_how_many_a_sample_is_said_to_have) {
    const auto bytes = encoded({{"a", {{1}, {2}}}});
    Batch batch = decode_batch(bytes);
    const Slots slots({{.name = "a", .dim = 2}}, 8);
    CHECK(make_plan(batch, slots, 1).shards[0].parts[0].kind == AnswerKind::halves);
    for (Position& position : batch.positions) position.sample = 0;
    CHECK(batch.ids_per_sample == (std::vector<std::uint32_t>{1, 1}));
    CHECK(make_plan(batch, slots, 1).shards[0].parts[0].kind != AnswerKind::halves);
}
