// Weights of ids: from a byte batch and an id part to what rows are multiplied with; and which ids of a raw slot are kept.
#include "batch/weights.hpp"

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "batch/id_part.hpp"
#include "batches.hpp"
#include "check.hpp"
#include "plan/factors.hpp"
#include "plan/plan.hpp"

using namespace persia;

namespace {

const Samples kSamples = {{7, 9, 7}, {}, {9}};
const std::vector<float> kPadded = {0.5F, 2, 1, 0, 0, 0, 4, 0, 0};

// The samples as the feature "f", with its weights as a matrix (3, columns).
std::vector<std::byte> batch_with(const std::vector<float>& weights, std::uint64_t columns, const char* name = "f.weights",
                                  DType dtype = DType::f32) {
    BatchEncoder encoder;
    const std::vector<std::span<const std::uint64_t>> lists(kSamples.begin(), kSamples.end());
    encoder.add_id_lists("f", lists);
    TensorView tensor;
    tensor.dtype = dtype;
    tensor.shape = {3, columns};
    tensor.data = std::as_bytes(std::span(weights));
    tensor.name = name;
    encoder.add_dense(tensor);
    std::vector<std::byte> bytes(encoder.size());
    encoder.write_to(bytes.data());
    return bytes;
}

std::vector<std::byte> ids_of(const Batch& batch) {
    Writer out;
    encode_ids(batch, out);
    return {out.view().begin(), out.view().end()};
}

Slot weighted(bool mean = false, bool sqrt = false, std::uint32_t rounds = 0) {
    return {.name = "f",
            .dim = 2,
            .sqrt_scaling = sqrt,
            .mean = mean,
            .weighted = true,
            .hash_stack_rounds = rounds,
            .hash_stack_size = rounds};
}

using Floats = std::vector<float>;

}  // namespace

TEST(weights_are_no_dense_tensor_and_survive_an_id_part) {
    const auto bytes = batch_with(kPadded, 3);
    const Batch batch = decode_batch(bytes);
    CHECK(batch.dense.empty() && batch.weights.size() == 1);
    CHECK(weights_of(batch, batch.features[0]) == (Floats{0.5F, 2, 1, 4}));
    const auto part = ids_of(batch);
    CHECK(part[3] == std::byte{'2'});
    const Batch again = decode_ids(part);
    CHECK(weights_of(again, again.features[0]) == (Floats{0.5F, 2, 1, 4}));
    CHECK(again.ids == batch.ids && again.ids_per_sample == batch.ids_per_sample);
}

TEST(an_id_part_without_weights_is_what_it_was) {
    const auto bytes = encoded({{"f", kSamples}});
    const auto part = ids_of(decode_batch(bytes));
    CHECK(part[3] == std::byte{'1'});
    CHECK(!decode_ids(part).features[0].weights);
}

TEST(another_tensor_stays_where_it_is) {
    const auto bytes = batch_with(kPadded, 3, "g.weights");
    const Batch batch = decode_batch(bytes);
    CHECK(batch.dense.size() == 1 && batch.weights.empty());
}

TEST(factors_are_the_weights_by_the_divisor_of_the_pooling) {
    const auto bytes = batch_with(kPadded, 3);
    const Batch batch = decode_batch(bytes);
    const FeatureView& feature = batch.features[0];
    const Factors sum = factors_of(batch, feature, weighted());
    CHECK(sum.values == (Floats{0.5F, 2, 1, 4}) && sum.begins == (std::vector<std::uint32_t>{0, 3, 3, 4}));
    CHECK(factors_of(batch, feature, weighted(true)).values == (Floats{0.5F / 3.5F, 2 / 3.5F, 1 / 3.5F, 1}));
    CHECK(factors_of(batch, feature, weighted(true, false, 2)).values[3] == 0.5F);
    const float root = std::sqrt(5.25F);
    CHECK(std::fabs(factors_of(batch, feature, weighted(false, true)).values[1] - 2 / root) < 1e-6F);
}

TEST(a_divisor_of_zero_makes_zeros) {
    const auto bytes = batch_with({1, -1, 0, 0, 0, 0, 0, 0, 0}, 3);
    const Batch batch = decode_batch(bytes);
    for (const bool sqrt : {false, true}) {
        const Factors factors = factors_of(batch, batch.features[0], weighted(!sqrt, sqrt));
        CHECK(factors.values[3] == 0);
        if (!sqrt) CHECK(factors.values[0] == 0 && factors.values[1] == 0);
    }
}

TEST(weights_that_do_not_fit) {
    const auto refused = [](const std::vector<std::byte>& bytes) {
        const Batch batch = decode_batch(bytes);
        CHECK_THROWS(weights_of(batch, batch.features[0]), FeatureError);
        Writer out;
        CHECK_THROWS(encode_ids(batch, out), FeatureError);
    };
    refused(batch_with({1, 1, 1, 1, 1, 1}, 2));
    refused(batch_with(kPadded, 3, "f.weights", DType::i32));
    refused(batch_with({1, std::numeric_limits<float>::quiet_NaN(), 1, 0, 0, 0, 1, 0, 0}, 3));
    const auto none = encoded({{"f", kSamples}});
    const Batch batch = decode_batch(none);
    CHECK_THROWS(factors_of(batch, batch.features[0], weighted()), FeatureError);
    const auto some = batch_with(kPadded, 3);
    const Slots unweighted({{.name = "f", .dim = 2}}, 8);
    CHECK_THROWS(make_plan(decode_batch(some), unweighted, 1), FeatureError);
}

TEST(columns_beyond_the_sample_have_no_weight) {
    const auto bytes = batch_with(kPadded, 3);
    Batch batch = decode_batch(bytes);
    batch.positions[0].column = 3;
    CHECK_THROWS(factors_of(batch, batch.features[0], weighted()), FeatureError);
}

// Every byte changed and every length: an error with a name, or a batch that a plan can be made of or refuses.
TEST(spoiled_id_parts_are_refused_or_whole) {
    const auto bytes = batch_with(kPadded, 3);
    const auto good = ids_of(decode_batch(bytes));
    const Slots slots({weighted(true)}, 8);
    const auto use = [&](const std::vector<std::byte>& part) {
        const std::unique_ptr<std::byte[]> exact(new std::byte[part.size()]);
        std::copy(part.begin(), part.end(), exact.get());
        try {
            make_plan(decode_ids({exact.get(), part.size()}), slots, 2);
            return true;
        } catch (const DecodeError&) {
            return false;
        } catch (const FeatureError&) {  // of weights that are no numbers, or columns that are none of the sample
            return false;
        }
    };
    CHECK(use(good));
    for (std::size_t size = 0; size < good.size(); ++size) CHECK(!use({good.begin(), good.begin() + static_cast<long>(size)}));
    std::size_t taken = 0;
    for (std::size_t at = 0; at < good.size(); ++at) {
        for (unsigned value = 0; value < 256; ++value) {
            auto spoiled = good;
            spoiled[at] = static_cast<std::byte>(value);
            taken += use(spoiled);
        }
    }
    CHECK(taken > 256);  // ids and weights may be others
}

TEST(the_last_ids_stand_from_the_first_column) {
    const Samples samples = {{1, 2, 3, 4, 5}, {6}, {}, {7, 8}};
    Slot slot{.name = "f", .dim = 2, .sample_fixed_size = 2, .summation = false};
    const auto bytes = encoded({{"f", samples}});
    const auto columns = [&](bool last) {
        slot.keep_last = last;
        const Slots slots({slot}, 8);
        const Plan plan = make_plan(decode_batch(bytes), slots, 1);
        CHECK(plan.features[0].cut_ids == 3);
        return plan.shards[0].row_columns;
    };
    CHECK(columns(false) == (std::vector<std::uint16_t>{0, 1, 2, 3, 4, 0, 0, 1}));
    CHECK(columns(true) == (std::vector<std::uint16_t>{0xffff, 0xffff, 0xffff, 0, 1, 0, 0, 1}));
}

TEST(a_sample_without_room_for_all_ids_is_refused) {
    const Slots slots({Slot{.name = "f", .dim = 2, .sample_fixed_size = 2, .summation = false, .keep_all = true}}, 8);
    const auto plan = [&](const Samples& samples) { return make_plan(decode_batch(encoded({{"f", samples}})), slots, 1); };
    CHECK(plan({{1, 2}, {}, {3}}).features[0].cut_ids == 0);
    CHECK_THROWS(plan({{1, 2}, {3, 4, 5}}), FeatureError);
}

TEST(slots_that_do_not_go_together) {
    const auto refused = [](Slot slot) { CHECK_THROWS(Slots({slot}, 8), FeatureError); };
    refused({.name = "f", .dim = 2, .sqrt_scaling = true, .mean = true});
    refused({.name = "f", .dim = 2, .summation = false, .mean = true});
    refused({.name = "f", .dim = 2, .summation = false, .weighted = true});
    refused({.name = "f", .dim = 2, .keep_last = true});
    refused({.name = "f", .dim = 2, .keep_all = true});
    refused({.name = "f", .dim = 2, .summation = false, .keep_last = true, .keep_all = true});
}
