// Feeds spoiled requests to the shard. Each must end in a typed error, or in the answer that a naive loop gives too. The seed
// is fixed: a failure here is a failure everywhere. PERSIA_FUZZ_MUTANTS sets how many mutants there are.
#include <vector>

#include "check.hpp"
#include "spoiled_requests.hpp"

using namespace persia;

namespace {

constexpr std::size_t kMaxNumbers = 20'000;

}  // namespace

TEST(spoiled_requests_end_in_the_right_answer_or_a_typed_error) {
    const auto table = table_for_requests();
    const auto snapshot = table->pin();

    const std::size_t mutants = fuzz_mutants(120'000);
    Mutator mutator;
    std::size_t answered = 0, invalid = 0, too_large = 0, found = 0, of_kind[4] = {};
    for (std::size_t i = 0; i < mutants; ++i) {
        const Wire wire = mutator.next();
        try {
            const auto parts = items_of<RequestPart>(wire.columns[0]);
            const auto signs = items_of<std::uint64_t>(wire.columns[1]);
            const auto counts = items_of<std::uint32_t>(wire.columns[2]);
            const auto samples = items_of<std::uint16_t>(wire.columns[3]);
            const RequestView request{parts, signs, counts, samples};
            check_request(request, kMaxNumbers);
            std::vector<float> numbers(request.answer_size(), -1.0F);
            std::vector<RunMisses> by_part, expected_by_part;
            const Misses misses = answer(*snapshot, request, numbers.data(), by_part);
            Misses expected;
            const bool same = bytes_of(numbers) == naive_answer(*snapshot, request, expected, expected_by_part) &&
                              bytes_of(by_part) == bytes_of(expected_by_part);
            CHECK(same && misses.absent == expected.absent && misses.wrong_dim == expected.wrong_dim);
            CHECK(numbers.size() <= kMaxNumbers);
            ++answered;
            for (const RequestPart& part : parts) ++of_kind[static_cast<std::size_t>(part.kind)];
            found += misses.absent + misses.wrong_dim < signs.size();
        } catch (const InvalidInput&) {
            ++invalid;
        } catch (const TooLarge&) {
            ++too_large;
        }
    }
    std::printf("%zu answered, %zu with rows; %zu invalid, %zu too large\n", answered, found, invalid, too_large);
    CHECK(answered > mutants / 10);
    CHECK(found > mutants / 20);
    for (const std::size_t parts : of_kind) CHECK(parts > mutants / 20);
    CHECK(invalid > mutants / 10);
    CHECK(too_large > mutants / 1'000);
}
