#include "base/half.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "check.hpp"

using namespace persia;

namespace {

std::uint16_t half(float value) {
    // Once alone (the portable path) and once in a full vector: both must agree.
    std::uint16_t one = 0;
    to_half(&value, &one, 1);
    const std::vector<float> eight(8, value);
    std::vector<std::uint16_t> halves(8);
    to_half(eight.data(), halves.data(), 8);
    for (const std::uint16_t other : halves) CHECK(other == one);
    return one;
}

}  // namespace

TEST(known_values) {
    CHECK(half(0.0F) == 0x0000);
    CHECK(half(-0.0F) == 0x8000);
    CHECK(half(1.0F) == 0x3c00);
    CHECK(half(-2.0F) == 0xc000);
    CHECK(half(65504.0F) == 0x7bff);
    CHECK(half(0x1p-14F) == 0x0400);
    CHECK(half(0x1p-24F) == 0x0001);
    CHECK(half(0x1p-25F) == 0x0000);         // half a step: to even
    CHECK(half(0x1.8p-24F) == 0x0002);       // one and a half: to even
    CHECK(half(1.0F + 0x1p-11F) == 0x3c00);  // between two halves: to even
    CHECK(half(1.0F + 0x1.8p-10F) == 0x3c02);
}

TEST(what_is_too_large_saturates) {
    const float infinity = std::numeric_limits<float>::infinity();
    CHECK(half(65520.0F) == 0x7bff);
    CHECK(half(1e30F) == 0x7bff);
    CHECK(half(-1e30F) == 0xfbff);
    CHECK(half(infinity) == 0x7bff);
    CHECK(half(-infinity) == 0xfbff);
    CHECK((half(std::nanf("")) & 0x7fffU) > 0x7c00U);
}

TEST(every_half_survives_the_way_to_f32_and_back) {
    std::vector<std::uint16_t> all;
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
        if ((bits & 0x7c00U) != 0x7c00U) all.push_back(static_cast<std::uint16_t>(bits));
    }
    std::vector<float> wide(all.size());
    std::vector<std::uint16_t> back(all.size());
    from_half(all.data(), wide.data(), all.size());
    to_half(wide.data(), back.data(), all.size());
    CHECK(back == all);
    for (std::size_t i = 0; i < all.size(); ++i) {
        float alone = 0;
        from_half(&all[i], &alone, 1);
        CHECK(std::bit_cast<std::uint32_t>(alone) == std::bit_cast<std::uint32_t>(wide[i]));
    }
}

TEST(the_vector_path_rounds_as_the_portable_one) {
    std::uint32_t bits = 12345;
    for (int i = 0; i < 200'000; ++i) {
        bits = bits * 1664525U + 1013904223U;
        const float value = std::bit_cast<float>(bits);
        if (!std::isnan(value)) half(value);
    }
}

TEST(add_half_adds) {
    const std::vector<std::uint16_t> halves(11, 0x3e00);  // 1.5
    std::vector<float> sum(11, 1.0F);
    add_half(halves.data(), sum.data(), sum.size());
    for (const float value : sum) CHECK(value == 2.5F);
}
