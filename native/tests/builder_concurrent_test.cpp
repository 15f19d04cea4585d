// Several threads fill one builder.
#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "check.hpp"
#include "tables.hpp"

using namespace persia;

namespace {

constexpr std::uint32_t kDim = 8;

// f(loader) in four threads.
template <class F>
void in_threads(F f) {
    std::vector<std::thread> threads;
    for (unsigned loader = 0; loader < 4; ++loader) threads.emplace_back([&f, loader] { f(loader); });
    for (std::thread& thread : threads) thread.join();
}

}  // namespace

TEST(a_builder_takes_rows_from_many_threads) {
    TableBuilder builder({});
    in_threads([&](unsigned loader) {
        for (std::uint64_t part = 0; part < 20; ++part) {
            const std::uint64_t begin = (part * 4 + loader) * 100;
            put_range(begin, begin + 100, kDim, 1.0F, [&](const RowBlock& block) { builder.put(block); });
        }
    });
    CHECK(builder.rows() == 8'000);
    const std::size_t bytes = filled({}, 0, 8'000, kDim, 1.0F)->bytes();
    CHECK(builder.bytes() <= bytes + bytes / 10);  // by the order in which parts grow, and slots that came back
    Table table(builder);
    const auto [rows, misses] = rows_of(*table.pin(), range(0, 8'000), kDim);
    CHECK(misses.absent == 0 && misses.wrong_dim == 0);
    for (std::uint64_t sign = 0; sign < 8'000; ++sign) CHECK(rows[sign * kDim] == value(sign, 1.0F));
}

TEST(threads_with_the_same_signs_leave_one_whole_row_of_each) {
    TableBuilder builder({});
    // Two dims, so that rows also move.
    in_threads([&](unsigned loader) {
        for (std::uint64_t begin = 0; begin < 4'000; begin += 500) {
            put_range(begin, begin + 500, kDim * (1 + loader % 2), static_cast<float>(loader + 1),
                      [&](const RowBlock& block) { builder.put(block); });
        }
    });
    Table table(builder);
    const TableStatus status = table.status();
    CHECK(status.base_rows == 4'000);
    std::uint64_t by_dim = 0;
    for (const auto& [dim, count] : status.base_rows_by_dim) {
        by_dim += count;
        const auto rows = rows_of(*table.pin(), range(0, 4'000), dim).first;
        std::uint64_t whole = 0;
        for (std::uint64_t sign = 0; sign < 4'000; ++sign) {
            const auto row = rows.begin() + static_cast<std::ptrdiff_t>(sign * dim);
            if (*row == 0.0F) continue;  // of the other dim
            const float factor = *row / value(sign, 1.0F);
            CHECK(factor == 1.0F || factor == 2.0F || factor == 3.0F || factor == 4.0F);
            CHECK(std::all_of(row, row + dim, [&](float number) { return number == *row; }));
            ++whole;
        }
        CHECK(whole == count);
    }
    CHECK(by_dim == 4'000);
}

TEST(a_builder_filled_by_many_threads_keeps_to_its_capacity) {
    constexpr std::uint64_t capacity = 2'000, block_rows = 100;
    TableBuilder builder({.capacity = capacity});
    std::atomic<std::uint64_t> most{0};
    in_threads([&](unsigned loader) {
        for (std::uint64_t part = 0; part < 40; ++part) {
            const std::uint64_t begin = (part * 4 + loader) * block_rows;
            put_range(begin, begin + block_rows, kDim, 1.0F, [&](const RowBlock& block) { builder.put(block); });
            const std::uint64_t now = builder.rows();
            for (std::uint64_t before = most; before < now && !most.compare_exchange_weak(before, now);) continue;
        }
    });
    CHECK(most <= capacity + capacity / 32 + 4 * block_rows);
    Table table(builder);
    CHECK(table.status().base_rows == capacity);
    CHECK(table.status().evicted == 160 * block_rows - capacity);
}

TEST(a_builder_that_one_thread_spoils_takes_no_rows_from_the_others) {
    TableBuilder builder({});
    std::atomic<unsigned> refused{0};
    in_threads([&](unsigned loader) {
        try {
            for (std::uint64_t sign = 0;; sign += 100) {
                put_range(sign, sign + 100, kDim, 1.0F, [&](const RowBlock& block) { builder.put(block); });
                if (loader == 0 && sign == 1'000) builder.spoil("a file is broken");
            }
        } catch (const InvalidInput&) {
            ++refused;
        }
    });
    CHECK(refused == 4);
}
