// Who may ask now, in threads that wait for each other.
#include "routing/asking_turns.hpp"

#include <atomic>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "check.hpp"
#include "grpc/call_failed.hpp"

using namespace persia;
using namespace persia::routing;
using namespace std::chrono_literals;

namespace {

constexpr auto kLong = 60s;  // longer than any test takes

void wait_for_waiting(const AskingTurns& turns, std::size_t count) {
    while (turns.waiting() != count) std::this_thread::sleep_for(1ms);
}

}  // namespace

TEST(as_many_ask_at_once_as_fit_the_bytes) {
    AskingTurns turns(100);
    auto first = turns.try_take(60);
    auto second = turns.try_take(40);
    CHECK(first && second);
    CHECK(!turns.try_take(1));
    second.reset();
    CHECK(!turns.try_take(41));
    CHECK(turns.try_take(40).has_value());  // and ends at once
    first.reset();
    const auto larger_than_all = turns.try_take(1000);
    CHECK(larger_than_all.has_value());
    CHECK(!turns.try_take(1));
}

TEST(turns_are_taken_in_the_order_of_coming) {
    AskingTurns turns(100);
    auto held = turns.try_take(100);
    std::vector<int> order;  // which only one writes to at a time, as one has most of the bytes
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&, i] {
            const auto turn = turns.take(90, Clock::now() + kLong);
            order.push_back(i);
        });
        wait_for_waiting(turns, static_cast<std::size_t>(i) + 1);
    }
    CHECK(!turns.try_take(1));  // nobody goes before those who wait
    held.reset();
    for (auto& thread : threads) thread.join();
    CHECK((order == std::vector{0, 1, 2}));
}

TEST(a_call_is_refused_in_time_where_others_get_their_answers) {
    AskingTurns turns(100);
    const auto held = turns.try_take(45);
    auto answered = turns.try_take(45);
    std::optional<grpc::CallFailed> failed;
    std::thread thread([&] {
        try {
            turns.take(60, Clock::now() + 400ms);
        } catch (const grpc::CallFailed& error) {
            failed = error;
        }
    });
    wait_for_waiting(turns, 1);
    answered.reset();  // which is not enough
    thread.join();
    CHECK(failed && failed->status.code == grpc::Code::resource_exhausted);
    CHECK(failed && failed->pushback && *failed->pushback <= 300ms && *failed->pushback >= 250ms);
    CHECK(turns.waiting() == 0);
    CHECK(turns.try_take(55).has_value());
}

TEST(a_call_goes_ahead_in_time_where_nobody_gets_an_answer) {
    AskingTurns turns(100);
    auto held = turns.try_take(100);
    {
        const auto turn = turns.take(50, Clock::now() + 40ms);
        CHECK(turns.waiting() == 0);
        held.reset();
        CHECK(!turns.try_take(51));  // it counts all the same
    }
    CHECK(turns.try_take(100).has_value());
}

TEST(who_waits_leaves_the_line_when_told_to) {
    AskingTurns turns(100);
    auto held = turns.try_take(60);
    std::atomic<bool> interrupted = false;
    const OnWait look{[&] {
                          if (interrupted) throw std::runtime_error("interrupted");
                      },
                      1ms};
    std::thread thread([&] { CHECK_THROWS(turns.take(60, Clock::now() + kLong, look), std::runtime_error); });
    wait_for_waiting(turns, 1);
    std::thread behind([&] { turns.take(40, Clock::now() + kLong); });  // it has room, but not before its turn
    wait_for_waiting(turns, 2);
    interrupted = true;
    thread.join();
    CHECK(turns.waiting() == 0);
    behind.join();
    held.reset();
    CHECK(turns.try_take(100).has_value());
}

TEST(many_threads_never_have_more_than_fits) {
    AskingTurns turns(100);
    std::atomic<std::size_t> under_way = 0, most = 0;
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 8; ++t) {
        threads.emplace_back([&, t] {
            int looks = 0;
            const OnWait look{[&] {
                                  if (++looks % 3 == 0) throw std::runtime_error("interrupted");
                              },
                              10us};
            for (std::size_t i = 0; i < 500; ++i) {
                const std::size_t bytes = 10 + (t * 7 + i * 13) % 60;
                try {
                    const auto turn = turns.take(bytes, Clock::now() + kLong, t % 2 == 0 ? look : OnWait());
                    const std::size_t now = under_way += bytes;
                    for (std::size_t before = most; before < now && !most.compare_exchange_weak(before, now);) {
                    }
                    std::this_thread::yield();
                    under_way -= bytes;
                } catch (const std::runtime_error&) {
                }
            }
        });
    }
    for (auto& thread : threads) thread.join();
    CHECK(most <= 100);
    CHECK(turns.waiting() == 0);
    CHECK(turns.try_take(100).has_value());
}
