// A request of many features is looked up in one go, whatever each of them wants, and wherever one ends and the next begins.
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "check.hpp"
#include "spoiled_requests.hpp"

using namespace persia;

namespace {

constexpr std::uint64_t kSigns = 400;
constexpr std::uint32_t kDims[] = {1, 4, 5, 16, 33, 200};  // rows of up to 13 lines

// Of each dim some signs, in the base and in two layers over it; the upper one takes some of them away.
std::unique_ptr<Table> table_of_many_dims() {
    TableBuilder builder({});
    Layer lower(RowStorage::f32), upper(RowStorage::f32);
    for (std::uint64_t sign = 0; sign < kSigns; ++sign) {
        const std::uint32_t dim = kDims[sign % std::size(kDims)];
        const auto to_base = [&](const RowBlock& block) { builder.put(block); };
        const auto to_lower = [&](const RowBlock& block) { lower.rows.put(block, {}, 3); };
        if (sign % 7 != 0) put_range(sign, sign + 1, dim, 1.0F, to_base);
        if (sign % 5 == 0) put_range(sign, sign + 1, dim, 2.0F, to_lower);
        if (sign % 11 == 0) upper.rows.add_tombstone(sign);
    }
    auto table = std::make_unique<Table>(builder);
    table->publish(std::move(lower));
    table->publish(std::move(upper));
    return table;
}

struct Request {
    std::vector<RequestPart> parts;
    std::vector<std::uint64_t> signs;
    std::vector<std::uint32_t> counts;
    std::vector<std::uint16_t> samples;

    RequestView view() const { return {parts, signs, counts, samples}; }
};

// Parts of no sign, of one, of some, and of more than a block.
Request request_of(std::mt19937_64& random, std::size_t parts, std::size_t most_signs) {
    const auto below = [&](std::size_t limit) { return static_cast<std::uint32_t>(random() % limit); };
    Request request;
    for (std::size_t p = 0; p < parts; ++p) {
        RequestPart part{
            .kind = static_cast<AnswerKind>(below(4)), .dim = kDims[below(std::size(kDims))], .samples = 1 + below(4)};
        part.signs = below(most_signs + 1);
        for (std::uint32_t i = 0; i < part.signs; ++i) {
            // Mostly of the dim, so that there is something to be found.
            const std::uint64_t sign = random() % kSigns;
            const std::uint32_t dim = kDims[sign % std::size(kDims)];
            request.signs.push_back(below(4) == 0 || dim == part.dim ? sign : sign / std::size(kDims) * std::size(kDims));
            if (part.kind != AnswerKind::sums) continue;
            request.counts.push_back(below(3));
            for (std::uint32_t n = request.counts.back(); n > 0; --n, ++part.positions) {
                request.samples.push_back(static_cast<std::uint16_t>(below(part.samples)));
            }
        }
        request.parts.push_back(part);
    }
    return request;
}

}  // namespace

TEST(many_features_are_answered_as_each_alone_would_be) {
    const auto table = table_of_many_dims();
    const auto snapshot = table->pin();  // holds the fold up, so that there are layers
    std::mt19937_64 random(7);
    std::uint64_t found = 0;
    for (const std::size_t most_signs : {0U, 1U, 3U, 40U, 100U}) {
        for (std::size_t round = 0; round < 100; ++round) {
            const Request request = request_of(random, round % 30, most_signs);
            check_request(request.view(), 1 << 20);
            std::vector<float> out(request.view().answer_size(), -1.0F);
            std::vector<RunMisses> by_part(3), expected_by_part;  // what an earlier request left
            const Misses misses = answer(*snapshot, request.view(), out.data(), by_part);
            Misses expected;
            CHECK(bytes_of(out) == naive_answer(*snapshot, request.view(), expected, expected_by_part));
            CHECK(bytes_of(by_part) == bytes_of(expected_by_part));
            CHECK(misses.absent == expected.absent && misses.wrong_dim == expected.wrong_dim);
            found += request.signs.size() - misses.absent - misses.wrong_dim;
        }
    }
    CHECK(found > 10'000);
}
