#include "base/hash.hpp"

#include <cstdint>
#include <random>
#include <vector>

#include "check.hpp"

using namespace persia;

namespace {

std::vector<std::uint64_t> some_signs() {
    std::vector<std::uint64_t> signs{0, 1, ~std::uint64_t{0}, ~std::uint64_t{0} - 1, std::uint64_t{1} << 63};
    std::mt19937_64 random(11);
    while (signs.size() < 2'000) signs.push_back(random());
    return signs;
}

std::size_t differing(std::uint32_t shards, const std::vector<std::uint64_t>& signs) {
    const ShardOf shard_of_sign(shards);
    std::size_t count = 0;
    for (const std::uint64_t sign : signs) count += shard_of_sign(sign) != shard_of(sign, shards);
    return count;
}

}  // namespace

TEST(the_shard_without_a_division_is_the_remainder) {
    const auto signs = some_signs();
    for (std::uint32_t shards = 1; shards <= 1'000; ++shards) CHECK(differing(shards, signs) == 0);
    for (const std::uint32_t shards : {4'096U, 65'521U, 65'535U, 65'536U, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
        CHECK(differing(shards, signs) == 0);
    }
}

// The farthest that a rounded inverse could err is next to multiples of a large divisor, so their signs are sought out.
TEST(hashes_next_to_a_multiple_are_divided_exactly) {
    std::vector<std::uint64_t> next_to_one;
    for (std::uint64_t sign = 0; next_to_one.size() < 200; ++sign) {
        const std::uint64_t rest = farmhash64(sign) % 65'535;
        if (rest == 0 || rest == 65'534) next_to_one.push_back(sign);
    }
    CHECK(differing(65'535, next_to_one) == 0);
}
