// Several batches as one: what is planned of it is what is planned of each.
#include "batch/merge_batches.hpp"

#include <array>
#include <vector>

#include "base/error.hpp"
#include "batches.hpp"
#include "check.hpp"
#include "plan/plan.hpp"

using namespace persia;

namespace {

constexpr std::uint32_t kShards = 2;

Slots slots() {
    return Slots({{.name = "sum", .dim = 4},
                  {.name = "raw", .dim = 4, .sample_fixed_size = 3, .summation = false},
                  {.name = "stacked", .dim = 4, .hash_stack_rounds = 2, .hash_stack_size = 50},
                  {.name = "weighted", .dim = 4, .weighted = true}},
                 8);
}

struct Decoded {
    explicit Decoded(const Samples& samples)
        : bytes(encoded({{"sum", samples}, {"raw", samples}, {"stacked", samples}})), batch(decode_batch(bytes)) {}

    std::vector<std::byte> bytes;
    Batch batch;
};

const std::array<Samples, 3> kSamples{Samples{{1, 2, 2}, {3}}, Samples{{7}}, Samples{{1, 2, 3, 4}, {}, {4, 4}}};

// The parts of a shard's request that are those of one batch: for each its feature, its numbers and its signs.
std::vector<std::vector<std::uint64_t>> parts_of(const PlannedRequest& request, std::uint32_t requests, std::uint32_t mine) {
    std::vector<std::vector<std::uint64_t>> parts;
    std::size_t sign = 0;
    for (std::size_t i = 0; i < request.parts.size(); ++i) {
        const RequestPart& part = request.parts[i];
        std::vector<std::uint64_t> one{request.features[i] / requests,
                                       part.feature,
                                       static_cast<std::uint64_t>(part.kind),
                                       part.dim,
                                       part.samples,
                                       part.positions};
        one.insert(one.end(), request.signs.begin() + static_cast<std::ptrdiff_t>(sign),
                   request.signs.begin() + static_cast<std::ptrdiff_t>(sign + part.signs));
        sign += part.signs;
        if (request.features[i] % requests == mine) parts.push_back(std::move(one));
    }
    return parts;
}

}  // namespace

TEST(each_batch_is_planned_as_it_is_alone) {
    const Slots all = slots();
    std::vector<Decoded> decoded(kSamples.begin(), kSamples.end());
    std::vector<const Batch*> batches;
    for (const Decoded& one : decoded) batches.push_back(&one.batch);
    const Batch merged = merge_batches(batches);
    CHECK(merged.requests == 3 && merged.features.size() == 9);
    const Plan together = make_plan(merged, all, kShards);
    for (std::uint32_t i = 0; i < batches.size(); ++i) {
        const Plan alone = make_plan(*batches[i], all, kShards);
        for (std::size_t shard = 0; shard < kShards; ++shard) {
            CHECK(parts_of(together.shards[shard], 3, i) == parts_of(alone.shards[shard], 1, 0));
        }
        for (std::size_t feature = 0; feature < 3; ++feature) {
            const PlannedFeature &one = together.features[3 * feature + i], &other = alone.features[feature];
            CHECK(one.slot == other.slot && one.cut_ids == other.cut_ids);
            CHECK(tensor_shape(one).size() == tensor_shape(other).size());
            CHECK(one.ids_per_sample == other.ids_per_sample);
        }
    }
}

TEST(a_batch_alone_is_merged_to_itself) {
    const Decoded one(kSamples[0]);
    const Batch* batch = &one.batch;
    const Batch merged = merge_batches({&batch, 1});
    CHECK(merged.ids == one.batch.ids && merged.position_offsets == one.batch.position_offsets);
    CHECK(merged.ids_per_sample == one.batch.ids_per_sample);
}

TEST(weights_stay_with_their_ids) {
    const Samples samples{{1, 2}, {3}};
    const std::vector<std::vector<float>> weights{{1, 2, 3, 0}, {5, 6, 7, 0}};  // (samples, the most ids)
    std::vector<std::vector<std::byte>> bytes;
    std::vector<Batch> decoded;
    for (const auto& numbers : weights) {
        BatchEncoder encoder;
        const std::vector<std::span<const std::uint64_t>> lists(samples.begin(), samples.end());
        encoder.add_id_lists("weighted", lists);
        encoder.add_dense({DType::f32, {2, 2}, std::as_bytes(std::span(numbers)), "weighted.weights"});
        encoder.write_to(bytes.emplace_back(encoder.size()).data());
    }
    for (const auto& one : bytes) decoded.push_back(decode_batch(one));
    const Batch merged = merge_batches(std::array<const Batch*, 2>{&decoded[0], &decoded[1]});
    const Slots all = slots();
    const Plan plan = make_plan(merged, all, kShards);
    CHECK((plan.features[0].factors.values == std::vector<float>{1, 2, 3}));
    CHECK((plan.features[1].factors.values == std::vector<float>{5, 6, 7}));
}

TEST(batches_of_other_features_are_refused) {
    const Decoded one(kSamples[0]);
    const auto other_bytes = encoded({{"sum", kSamples[0]}, {"stacked", kSamples[0]}, {"raw", kSamples[0]}});
    const Batch other = decode_batch(other_bytes), none;
    const std::vector<const Batch*> in_another_order{&one.batch, &other}, without_ids{&one.batch, &none};
    CHECK_THROWS(merge_batches(in_another_order), InvalidInput);
    CHECK_THROWS(merge_batches(without_ids), InvalidInput);
    CHECK_THROWS(merge_batches({}), InvalidInput);
}

TEST(one_that_has_features_of_several_sizes_is_refused_as_it_is_alone) {
    const Decoded right(kSamples[0]);
    const auto bytes = encoded({{"sum", kSamples[0]}, {"raw", kSamples[1]}, {"stacked", kSamples[0]}});
    const Batch wrong = decode_batch(bytes);
    const std::vector<const Batch*> both{&right.batch, &wrong};
    const Slots all = slots();
    CHECK_THROWS(make_plan(merge_batches(both), all, kShards), FeatureError);
}
