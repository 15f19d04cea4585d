// Lookups of variants: their own rows go first, an answer is of one epoch, and nobody gets the rows of another variant.
#include <memory>
#include <string>
#include <vector>

#include "base/half.hpp"
#include "check.hpp"
#include "looking_up.hpp"

using namespace persia;
using serving::ReadableEpochs;
using wire::RowsFor;

namespace {

constexpr std::uint64_t kB = 5, kModel = 7;
constexpr float kOwn = 50;  // the factor of B's rows; those of the epochs have the epoch's number
constexpr std::uint64_t kOwnSigns = 20;

// Two shards that build one epoch after the other.
class Deployed {
  public:
    // has_b: whether the epoch has the variant, whose rows are those of the signs before kOwnSigns.
    void commit(bool has_b, std::uint64_t own_version = 0) {
        ++epoch_;
        std::map<std::uint64_t, ReadableEpochs::Variant> there;
        if (has_b)
            there[kB] = {"b", own_version == 0 ? std::map<std::uint64_t, std::uint64_t>()
                                               : std::map<std::uint64_t, std::uint64_t>{{kModel, own_version}}};
        changes_.push_back({epoch_, there});
        has_b_.push_back(has_b);
    }

    void learn(std::size_t shard) { shards.shards[shard]->context->set_readable(ReadableEpochs(dense, changes_)); }

    void build(std::size_t shard) {
        learn(shard);
        Table& table = *shards.shards[shard]->table;
        for (std::uint64_t epoch = table.status().epoch + 1; epoch <= epoch_; ++epoch) {
            std::vector<VariantUpdate> updates;
            if (has_b_[epoch - 1]) {
                updates.push_back({.variant = kB, .layer = layer_of(0, kOwnSigns, 4, kOwn), .begins = true});
            }
            table.begin_epoch(layer_of(0, 100, 4, static_cast<float>(epoch)), epoch, epoch - 1, std::move(updates));
        }
    }

    void commit_and_build(bool has_b, std::uint64_t own_version = 0) {
        commit(has_b, own_version);
        for (std::size_t shard = 0; shard < shards.shards.size(); ++shard) build(shard);
    }

    // As a probe does.
    void tell(std::size_t shard) {
        const TableStatus status = shards.shards[shard]->table->status();
        shards.replicas[shard]->epochs().note(kStart, {status.epoch_low, status.epoch});
    }

    Shards shards{2};
    std::vector<ReadableEpochs::DenseChange> dense;

  private:
    std::uint64_t epoch_ = 0;
    std::vector<ReadableEpochs::VariantsChange> changes_;
    std::vector<bool> has_b_;
};

struct Found {
    std::uint64_t epoch;
    bool is_right;
};

Found look(const Router& router, const RowsFor& rows_for, std::uint64_t min_epoch = 0) {
    const Bytes batch = encoded({{"sums", {range(0, 40), range(20, 50)}}});
    const auto lookup = router.begin(decode_batch(batch), kLong, nullptr, {}, min_epoch, rows_for);
    const LookupResult result = lookup->finish();
    float sum = 0;
    for (std::uint64_t sign = 0; sign < 40; ++sign) {
        const bool own = rows_for.variant != 0 && sign < kOwnSigns;
        sum += value(sign, own ? kOwn : static_cast<float>(result.epoch));
    }
    std::uint16_t expected = 0;
    to_half(&sum, &expected, 1);
    return {result.epoch, lookup->room()->all()[0] == expected && result.variant == rows_for.variant};
}

std::string why_not(const Router& router, const RowsFor& rows_for, Code code) {
    try {
        static_cast<void>(look(router, rows_for));
    } catch (const grpc::CallFailed& error) {
        CHECK(error.status.code == code);
        return error.what();
    }
    CHECK(!"it failed");
    return {};
}

constexpr RowsFor kForB{0, 0, kB};

}  // namespace

TEST(the_rows_of_a_variant_go_before_those_of_all) {
    Deployed deployed;
    const auto router = deployed.shards.router();
    deployed.commit_and_build(true);
    for (int epoch = 2; epoch < 6; ++epoch) {
        const Found a = look(*router, {}), b = look(*router, kForB);
        CHECK(a.is_right && b.is_right && a.epoch != 0 && b.epoch != 0);
        deployed.commit_and_build(true);
    }
    static_cast<void>(look(*router, kForB));  // tells of the newest epoch
    CHECK(look(*router, kForB).epoch == 5 && look(*router, {}).epoch == 5);
}

TEST(a_variant_that_is_not_there_is_told_so_with_the_names_of_those_that_are) {
    Deployed deployed;
    const auto router = deployed.shards.router();
    CHECK(contains(why_not(*router, kForB, Code::not_found),
                   "expected a variant of the newest epoch (which has no variants)"));  // it follows no epochs
    deployed.commit_and_build(false);
    CHECK(contains(why_not(*router, kForB, Code::not_found),
                   "expected a variant of the newest epoch (which has no variants), got another one"));
    deployed.commit_and_build(true);
    CHECK(contains(why_not(*router, {0, 0, kB + 1}, Code::not_found), "expected a variant of the newest epoch (b)"));
    CHECK(look(*router, kForB).is_right);
    deployed.commit_and_build(false);  // it ends
    CHECK(contains(why_not(*router, kForB, Code::not_found), "expected a variant of the newest epoch (which has no variants)"));
    CHECK(look(*router, {}).is_right);
}

TEST(a_variant_is_read_at_an_epoch_that_every_shard_has) {
    Deployed deployed;
    const auto router = deployed.shards.router();
    deployed.commit_and_build(true);
    CHECK(look(*router, kForB).epoch == 1);
    deployed.commit(true);
    deployed.build(0);
    CHECK(look(*router, kForB).epoch == 1 && look(*router, kForB).is_right);
    deployed.build(1);
    static_cast<void>(look(*router, kForB));
    CHECK(look(*router, kForB).epoch == 2);
    deployed.commit_and_build(true);
    for (const std::size_t shard : {0, 1}) deployed.tell(shard);
    CHECK(look(*router, kForB, 3).epoch == 3);  // also before any answer has told that the variant has it
}

TEST(a_variant_of_which_a_shard_knows_and_that_it_has_not_built_is_waited_for) {
    Deployed deployed;
    const auto router = deployed.shards.router();
    deployed.commit_and_build(false);
    deployed.commit(true);
    deployed.build(0);
    deployed.learn(1);
    CHECK(contains(why_not(*router, kForB, Code::unavailable), "expected one that has epoch 2"));
    deployed.build(1);
    deployed.tell(1);
    const Found found = look(*router, kForB);
    CHECK(found.epoch == 2 && found.is_right);
}

TEST(a_variant_with_a_version_of_its_own_is_read_for_that_one) {
    Deployed deployed;
    const auto router = deployed.shards.router();
    deployed.dense.push_back({1, kModel, 1});
    deployed.commit_and_build(true, 2);
    CHECK(look(*router, {kModel, 2, kB}).is_right && look(*router, {kModel, 1}).is_right && look(*router, kForB).is_right);
    CHECK(contains(why_not(*router, {kModel, 1, kB}, Code::unavailable),
                   "the variant goes with this version of the dense model"));
    CHECK(contains(why_not(*router, {kModel, 2}, Code::unavailable), "names this version of the dense model"));
}

// A server of an earlier release passes over the field, and answers with the rows that all share.
TEST(a_server_that_knows_no_variants_answers_none) {
    Deployed deployed;
    deployed.commit_and_build(true);
    for (std::size_t shard = 0; shard < 2; ++shard) {
        deployed.shards.spoilers[shard]->spoil = [](Bytes answer) {
            wire::LookupResponse response(answer);
            wire::LookupFacts facts = response.facts();
            facts.variant = 0;
            return joined(wire::encode_lookup_response(facts, {}, std::as_bytes(response.numbers()), nullptr));
        };
    }
    CHECK(contains(why_not(*deployed.shards.router(), kForB, Code::unavailable), "from a server that knows no variants"));
}

TEST(variants_with_the_routers_own_version_are_watched_for_long) {
    routing::EpochChoices choices({kModel, 1, 0});
    choices.of({kModel, 1, kB})->note({1, 1});
    CHECK((choices.watched() == std::vector<RowsFor>{{kModel, 1, 0}, {kModel, 1, kB}}));
}
