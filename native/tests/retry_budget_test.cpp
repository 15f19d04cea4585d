// How many calls may be asked twice, at moments that the test chooses.
#include "routing/retry_budget.hpp"

#include <chrono>

#include "check.hpp"

using namespace persia::routing;
using namespace std::chrono_literals;

namespace {

const Clock::time_point kNow = Clock::now();

}  // namespace

TEST(a_tenth_of_all_calls_may_be_asked_twice) {
    RetryBudget budget;
    const auto spent = [&](Clock::time_point now) {
        int count = 0;
        while (budget.spend(now)) ++count;
        return count;
    };
    CHECK(spent(kNow) == 100);  // at once, where many fail together
    for (int i = 0; i < 505; ++i) budget.earn();
    CHECK(spent(kNow) == 50);
    CHECK(spent(kNow + 1050ms) == 11);  // with what was left
    CHECK(spent(kNow) == 0);            // a clock of another thread
    for (int i = 0; i < 100'000; ++i) budget.earn();
    CHECK(spent(kNow + 1h) == 100);
}
