// Rows that are answered in f16: bit for bit what the sum of each row alone is as f16.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/half.hpp"
#include "check.hpp"
#include "table/shard_request.hpp"
#include "tables.hpp"

using namespace persia;

namespace {

constexpr std::uint64_t kSigns = 100;
constexpr RowStorage kStorages[] = {RowStorage::f32, RowStorage::f16, RowStorage::int8};

using Halves = std::vector<std::uint16_t>;

void put_row(TableBuilder& builder, std::uint64_t sign, const std::vector<float>& row) {
    RowBlock block;
    block.signs = {sign};
    block.dims = {static_cast<std::uint32_t>(row.size())};
    block.values = {reinterpret_cast<const std::byte*>(row.data())};
    builder.put(block);
}

// Any numbers, and in between those at the ends of what f16 and f32 have.
std::vector<float> any_row(std::uint32_t dim, std::mt19937_64& random) {
    static const float special[] = {0.0F,
                                    -0.0F,
                                    1e30F,
                                    -1e30F,
                                    65'519.0F,
                                    65'520.0F,
                                    -65'504.0F,
                                    0x1p-25F,
                                    -0x1p-30F,
                                    1e-40F,
                                    std::numeric_limits<float>::infinity(),
                                    -std::numeric_limits<float>::infinity(),
                                    std::nanf(""),
                                    -std::nanf("7")};
    std::vector<float> row(dim);
    for (float& number : row) {
        const std::uint64_t bits = random();
        number = bits % 4 == 0
                     ? special[bits / 4 % std::size(special)]
                     : std::ldexp(static_cast<float>(static_cast<std::int64_t>(bits)), -64 - static_cast<int>(bits % 12));
    }
    return row;
}

// Of every seventh sign there is no row, and of every ninth one of another dim.
Table table_of(RowStorage storage, std::uint32_t dim) {
    TableBuilder builder({.storage = storage});
    std::mt19937_64 random(dim);
    for (std::uint64_t sign = 0; sign < kSigns; ++sign) {
        if (sign % 7 != 6) put_row(builder, sign, any_row(sign % 9 == 8 ? dim + 1 : dim, random));
    }
    return Table(builder);
}

Halves expected_halves(const Snapshot& snapshot, const std::vector<std::uint64_t>& signs, std::uint32_t dim) {
    Halves halves(signs.size() * dim);
    for (std::size_t i = 0; i < signs.size(); ++i) {
        std::vector<float> sum(dim);
        add_up(snapshot, {signs[i]}, {1}, {0}, dim, 1, sum.data());
        to_half(sum.data(), halves.data() + i * dim, dim);
    }
    return halves;
}

// As a part of a request, with the answer's memory full of what is not zero before.
Halves answered(const Snapshot& snapshot, const std::vector<std::uint64_t>& signs, std::uint32_t dim,
                Misses* misses = nullptr) {
    const RequestPart part{0, AnswerKind::halves, dim, 1, static_cast<std::uint32_t>(signs.size()), 0};
    const RequestView request{{&part, 1}, signs, {}, {}};
    check_request(request, 1 << 20);
    std::vector<float> out(request.answer_size(), -1.0F);
    const Misses found = answer(snapshot, request, out.data());
    if (misses != nullptr) *misses = found;
    Halves halves(2 * out.size());
    if (!out.empty()) std::memcpy(halves.data(), out.data(), out.size() * sizeof(float));
    return halves;
}

}  // namespace

TEST(halves_are_the_sum_of_one_row_bit_for_bit) {
    for (const RowStorage storage : kStorages) {
        for (const std::uint32_t dim : {1U, 3U, 4U, 8U, 16U, 17U, 32U, 33U, 64U, 65U, 200U}) {
            const Table table = table_of(storage, dim);
            const auto snapshot = table.pin();
            for (const std::size_t n : {1U, 2U, 31U, 32U, 33U, 64U, 65U, 100U}) {
                const auto signs = range(kSigns - n, kSigns);
                const Halves want = expected_halves(*snapshot, signs, dim);
                Misses misses;
                Halves got = answered(*snapshot, signs, dim, &misses);
                got.resize(n * dim);  // without what follows an odd number
                CHECK(got == want);
                const Misses as_rows = rows_of(*snapshot, signs, dim).second;
                CHECK(misses.absent == as_rows.absent && misses.wrong_dim == as_rows.wrong_dim);
            }
        }
    }
}

TEST(the_rows_of_a_layer_are_halves_too) {
    Table table(*filled({}, 0, 60, 3, 1.0F));
    const auto below = table.pin();  // holds the fold up
    Layer layer = layer_of(40, 80, 3, 0.1F);
    layer.rows.add_tombstone(5);
    table.publish(std::move(layer));
    const auto snapshot = table.pin();
    const auto signs = range(0, 90);
    Misses misses;
    const Halves got = answered(*snapshot, signs, 3, &misses);
    CHECK(misses.absent == 11);
    CHECK(got == expected_halves(*snapshot, signs, 3));
    CHECK(got[50 * 3] != expected_halves(*below, {50}, 3)[0]);
    CHECK(got[5 * 3] == 0);
}

TEST(what_is_absent_or_of_another_dim_is_zeros) {
    for (const RowStorage storage : kStorages) {
        const Table table = table_of(storage, 17);
        Misses misses;
        CHECK(answered(*table.pin(), {6, 8, 13}, 17, &misses) == Halves(52));
        CHECK(misses.absent == 2);
        CHECK(misses.wrong_dim == 1);
    }
}

TEST(negative_zeros_lose_their_sign_and_what_is_too_large_its_size) {
    for (const std::size_t dim : {std::size_t{7}, std::size_t{8}}) {  // a general dim, and one with its own loop
        std::vector<float> row{-0.0F, 0.0F, 65'520.0F, -1e30F, std::nanf(""), 1.5F, -0x1p-24F};
        row.resize(dim, -0.0F);
        TableBuilder builder({});
        put_row(builder, 1, row);
        const Table table(builder);
        const Halves got = answered(*table.pin(), {1}, static_cast<std::uint32_t>(dim));
        CHECK(got[0] == 0 && got[1] == 0);
        CHECK(got[2] == 0x7bff && got[3] == 0xfbff);
        CHECK((got[4] & 0x7fffU) > 0x7c00U);
        CHECK(got[5] == 0x3e00 && got[6] == 0x8001);
        CHECK(got[7] == 0);
    }
}

TEST(an_odd_number_of_halves_is_followed_by_a_zero) {
    const Table table = table_of(RowStorage::f32, 3);
    for (const std::size_t n : {1U, 33U}) {
        const auto signs = range(0, n);
        const Halves got = answered(*table.pin(), signs, 3);
        CHECK(got.size() == 3 * n + 1);
        CHECK(got.back() == 0);
        CHECK(Halves(got.begin(), got.end() - 1) == expected_halves(*table.pin(), signs, 3));
    }
    CHECK(answered(*table.pin(), range(0, 2), 3).size() == 6);
    CHECK(answered(*table.pin(), {}, 3).empty());
}

TEST(the_part_after_odd_halves_begins_at_its_own_place) {
    const Table table(*filled({}, 0, 10, 3, 1.0F));
    const RequestPart parts[] = {
        {0, AnswerKind::halves, 3, 1, 1, 0}, {1, AnswerKind::rows, 3, 1, 1, 0}, {2, AnswerKind::halves, 3, 1, 1, 0}};
    const std::vector<std::uint64_t> signs{1, 2, 3};
    const RequestView request{parts, signs, {}, {}};
    check_request(request, 7);
    CHECK(request.answer_size() == 7);
    std::vector<float> out(7, -1.0F);
    answer(*table.pin(), request, out.data());
    const auto* halves = reinterpret_cast<const std::byte*>(out.data());
    CHECK(std::memcmp(halves, expected_halves(*table.pin(), {1}, 3).data(), 6) == 0);
    CHECK(out[2] == value(2, 1.0F) && out[4] == value(2, 1.0F));
    CHECK(std::memcmp(halves + 20, expected_halves(*table.pin(), {3}, 3).data(), 6) == 0);
}
