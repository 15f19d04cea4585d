// From ids to tensors, in cases small enough to be written out.
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/half.hpp"
#include "batches.hpp"
#include "check.hpp"
#include "plan/assemble.hpp"
#include "tables.hpp"

using namespace persia;

namespace {

constexpr std::uint64_t kPrefix = std::uint64_t{1} << 56;
constexpr std::uint64_t k12345678 = 0x3837363534333231;  // the bytes of "12345678"
constexpr std::uint64_t kItsHash = 3'430'003'927'990'384'362;

using Rows = std::map<std::uint64_t, std::vector<float>>;

// Plans, asks `shards` shards but for the missing one, and assembles the only feature's tensor.
std::vector<float> tensor_of(const Slot& slot, const Samples& samples, const Rows& rows, std::uint32_t shards = 1,
                             std::uint32_t missing = 99, Misses* misses = nullptr) {
    const auto bytes = encoded({{slot.name, samples}});
    const Slots slots({slot}, 8);
    const Plan plan = make_plan(decode_batch(bytes), slots, shards);
    std::vector<std::vector<float>> answers(shards);
    for (std::uint32_t s = 0; s < shards; ++s) {
        if (s == missing) continue;
        TableBuilder builder({});
        for (const auto& [sign, row] : rows) {
            RowBlock block;
            block.signs = {sign};
            block.dims = {static_cast<std::uint32_t>(row.size())};
            block.values = {reinterpret_cast<const std::byte*>(row.data())};
            builder.put(block, {s, shards});
        }
        Table table(builder);
        const RequestView request = plan.shards[s].view();
        check_request(request, 1'000);
        answers[s].assign(request.answer_size(), -1.0F);
        const Misses found = answer(*table.pin(), request, answers[s].data());
        if (misses == nullptr) continue;
        misses->absent += found.absent;
        misses->wrong_dim += found.wrong_dim;
    }
    const std::size_t size = tensor_shape(plan.features[0]).size();
    std::vector<std::uint16_t> halves(size);
    std::uint16_t* out = halves.data();
    const std::vector<std::span<const float>> columns(answers.begin(), answers.end());
    assemble(plan, columns, std::span(&out, 1));
    std::vector<float> tensor(size);
    from_half(halves.data(), tensor.data(), size);
    return tensor;
}

using Numbers = std::vector<float>;

Slot pooled() { return {.name = "a", .dim = 2, .prefix = kPrefix}; }
Slot raw() { return {.name = "a", .dim = 2, .sample_fixed_size = 2, .summation = false, .prefix = kPrefix}; }

const Rows kRows = {{kPrefix + 1, {1, 10}}, {kPrefix + 2, {2, 20}}, {kPrefix + 3, {4, 40}}, {kPrefix + 5, {9, 9, 9}}};

}  // namespace

TEST(a_sign_is_the_remainder_by_one_less_than_a_power_of_two) {
    const Slots slots({pooled()}, 8);
    const std::uint64_t top = kPrefix - 1;  // 2^56 - 1
    CHECK(slots.sign_of(0, kPrefix) == kPrefix);
    CHECK(slots.sign_of(top - 1, kPrefix) == kPrefix + top - 1);
    CHECK(slots.sign_of(top, kPrefix) == kPrefix);
    CHECK(slots.sign_of(top + 1, kPrefix) == kPrefix + 1);
    CHECK(slots.sign_of(~std::uint64_t{0}, 255 * kPrefix) == 255 * kPrefix + 255);
    CHECK(Slots({pooled()}, 63).sign_of(5, 2) == 2);  // the modulus is 1
    CHECK(Slots({pooled()}, 1).sign_of(~std::uint64_t{0}, 0) == 1);
    CHECK(farmhash64(k12345678) == kItsHash);
}

TEST(pooled_rows_are_added_up_by_sample) {
    for (const std::uint32_t shards : {1U, 2U, 5U}) {
        CHECK(tensor_of(pooled(), {{1, 2}, {}, {3, 3, 1}}, kRows, shards) == (Numbers{3, 30, 0, 0, 9, 90}));
    }
}

TEST(sqrt_scaling_is_by_the_ids_of_the_sample) {
    Slot slot = pooled();
    slot.sqrt_scaling = true;
    CHECK(tensor_of(slot, {{1, 1, 2, 77}, {}, {3}}, kRows) == (Numbers{2, 20, 0, 0, 4, 40}));  // 77 has no row, but counts
}

TEST(raw_rows_stand_in_their_columns) {
    for (const std::uint32_t shards : {1U, 3U}) {
        CHECK(tensor_of(raw(), {{1, 2, 3}, {}, {3}}, kRows, shards) ==
              (Numbers{1, 10, 1, 2, 20, 1, 0, 0, 0, 0, 0, 0, 4, 40, 1, 0, 0, 0}));
    }
    Slot slot = raw();
    slot.sqrt_scaling = true;  // of no meaning here
    CHECK(tensor_of(slot, {{1, 2}}, kRows) == (Numbers{1, 10, 1, 2, 20, 1}));
}

TEST(ids_that_meet_in_a_sign_both_have_its_row) {
    const Rows rows = {{kPrefix, {7, 8}}};
    CHECK(tensor_of(raw(), {{kPrefix - 1, 0}}, rows) == (Numbers{7, 8, 1, 7, 8, 1}));
    CHECK(tensor_of(pooled(), {{kPrefix - 1, 0}}, rows) == (Numbers{14, 16}));
}

TEST(what_is_missing_is_zeros_with_a_mask_and_counted) {
    Misses misses;
    CHECK(tensor_of(raw(), {{77, 5}}, kRows, 1, 99, &misses) == (Numbers{0, 0, 1, 0, 0, 1}));
    CHECK(misses.absent == 1);
    CHECK(misses.wrong_dim == 1);
    CHECK(tensor_of(raw(), {{1, 2}}, kRows, 1, 0) == (Numbers{0, 0, 1, 0, 0, 1}));
    CHECK(tensor_of(pooled(), {{1, 2}}, kRows, 1, 0) == (Numbers{0, 0}));
}

TEST(a_hash_stack_is_a_row_of_each_round) {
    const std::uint64_t first = kItsHash % 500;
    const std::uint64_t second = farmhash64(kItsHash) % 500 + 500;
    CHECK(first == 362);
    const Rows rows = {{kPrefix + first, {1, 2}}, {kPrefix + second, {10, 20}}};
    Slot slot = pooled();
    slot.hash_stack_rounds = 2;
    slot.hash_stack_size = 500;
    CHECK(tensor_of(slot, {{k12345678}, {}}, rows, 3) == (Numbers{11, 22, 0, 0}));
    slot.sqrt_scaling = true;
    CHECK(tensor_of(slot, {{k12345678, k12345678}}, rows) == (Numbers{11, 22}));  // 2 ids of 2 rounds: by the root of 4
    slot.summation = false;
    slot.sample_fixed_size = 1;
    const Numbers scaled = tensor_of(slot, {{k12345678}}, rows, 2);
    CHECK(std::fabs(scaled[0] - 11 / std::sqrt(2.0F)) < 0.01F);
    CHECK(scaled[2] == 1);
    slot.sqrt_scaling = false;
    CHECK(tensor_of(slot, {{k12345678, 1}}, rows, 2) == (Numbers{11, 22, 1}));
}

TEST(rounds_and_ids_that_meet_in_one_row_are_all_added) {
    Slot slot = raw();
    slot.hash_stack_rounds = 3;
    slot.hash_stack_size = 1;  // every id becomes the signs 0, 1 and 2
    const Rows rows = {{kPrefix, {1, 0}}, {kPrefix + 1, {2, 0}}, {kPrefix + 2, {4, 100}}};
    CHECK(tensor_of(slot, {{8, 9}, {9}}, rows, 2) == (Numbers{7, 100, 1, 7, 100, 1, 7, 100, 1, 0, 0, 0}));
    slot.summation = true;
    CHECK(tensor_of(slot, {{8, 9}, {9}}, rows, 2) == (Numbers{14, 200, 7, 100}));
}

TEST(sums_too_large_for_a_half_saturate) {
    const float huge = std::numeric_limits<float>::max();
    const Rows rows = {{kPrefix + 1, {huge, -huge}}, {kPrefix + 2, {huge, -huge}}, {kPrefix + 3, {65'504, 40'000}}};
    CHECK(tensor_of(pooled(), {{1, 2}, {3, 3}}, rows) == (Numbers{65'504, -65'504, 65'504, 65'504}));
    CHECK(tensor_of(raw(), {{1, 3}}, rows) == (Numbers{65'504, -65'504, 1, 65'504, 40'000, 1}));
}

TEST(the_smaller_answer_is_asked_for) {
    const Slots slots({pooled()}, 8);
    const auto kinds = [&](const Samples& samples) {
        const auto bytes = encoded({{"a", samples}});
        const Plan plan = make_plan(decode_batch(bytes), slots, 2);
        std::vector<AnswerKind> all;
        for (const PlannedRequest& request : plan.shards) {
            for (const RequestPart& part : request.parts) all.push_back(part.kind);
        }
        return all;
    };
    CHECK(kinds({range(0, 100)}) == std::vector(2, AnswerKind::sums));
    CHECK(kinds(Samples(100, {1, 1})) == std::vector(1, AnswerKind::rows));
}

TEST(features_that_do_not_fit_are_named) {
    const Slots slots({pooled(), {.name = "b", .dim = 2}}, 8);
    const auto problem = [&](const std::vector<std::pair<std::string, Samples>>& features) {
        const auto bytes = encoded(features);
        try {
            make_plan(decode_batch(bytes), slots, 2);
        } catch (const FeatureError& error) {
            return error.feature;
        }
        return std::string();
    };
    CHECK(problem({{"a", {{1}}}, {"b", {{1}}}}).empty());
    CHECK(problem({{"a", {{1}}}, {"c", {{1}}}}) == "c");
    CHECK(problem({{"b", {{1}}}, {"a", {{1}, {1}}}}) == "a");
    CHECK_THROWS(make_plan({}, slots, 0), InvalidInput);
}

TEST(more_places_than_32_bits_count_are_refused) {
    // One id in 65535 samples, twice in each, in 65535 rounds: 2^33 places.
    Batch batch;
    batch.features = {{.name = "a", .batch_size = 65'535, .ids_begin = 0, .ids_end = 1, .samples_begin = 0}};
    batch.ids = {1};
    batch.position_offsets = {0, 2 * 65'535};
    batch.positions.resize(2 * 65'535);
    batch.ids_per_sample.assign(65'535, 2);
    Slot slot = pooled();
    slot.hash_stack_rounds = 65'535;
    slot.hash_stack_size = 1;
    const Slots slots({slot}, 8);
    CHECK_THROWS(make_plan(batch, slots, 1), FeatureError);
}

TEST(requests_and_answers_that_do_not_fit_are_refused) {
    const auto bytes = encoded({{"a", {{1, 2}}}});
    const Slots slots({pooled()}, 8);
    const Plan plan = make_plan(decode_batch(bytes), slots, 1);
    const std::vector<float> numbers(plan.shards[0].view().answer_size() + 1);
    std::vector<std::uint16_t> halves(2);
    std::uint16_t* out = halves.data();
    const std::vector<std::span<const float>> longer{numbers}, two(2);
    CHECK_THROWS(assemble(plan, longer, std::span(&out, 1)), InvalidInput);
    CHECK_THROWS(assemble(plan, two, std::span(&out, 1)), InvalidInput);
    CHECK_THROWS(check_request(plan.shards[0].view(), 1), TooLarge);

    const std::vector<std::uint64_t> signs{1};
    const std::vector<std::uint32_t> counts{2};
    const std::vector<std::uint16_t> samples{0, 2};
    const auto refused = [&](RequestPart part) {
        const RequestView request{{&part, 1}, signs, counts, samples};
        CHECK_THROWS(check_request(request, 100), InvalidInput);
    };
    const RequestPart good{0, AnswerKind::sums, 4, 3, 1, 2};
    check_request({{&good, 1}, signs, counts, samples}, 12);
    CHECK_THROWS(check_request({{&good, 1}, signs, counts, samples}, 11), TooLarge);
    refused({0, AnswerKind::sums, 4, 2, 1, 2});  // sample 2 of 2
    refused({0, AnswerKind::sums, 4, 3, 1, 1});
    refused({0, AnswerKind::sums, 4, 3, 2, 2});
    refused({0, AnswerKind::sums, 0, 3, 1, 2});
    refused({0, AnswerKind::sums, 65'536, 3, 1, 2});
    refused({0, static_cast<AnswerKind>(3), 4, 3, 1, 2});
    refused({0, AnswerKind::rows, 4, 3, 1, 2});  // rows have no counts
    refused({0, AnswerKind::halves, 4, 3, 1, 2});
}
