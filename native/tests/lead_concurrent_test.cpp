// Who waits for events, while others stand in line for it.
#include <atomic>
#include <thread>
#include <vector>

#include "check.hpp"
#include "grpc/lead.hpp"

using namespace persia::grpc;

TEST(one_thread_leads_at_a_time) {
    constexpr int kThreads = 4, kTimes = 20'000;
    Lead lead;
    int led = 0;  // guarded by nothing but the lead
    std::atomic<bool> alone{true};
    std::atomic<int> leading{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
        threads.emplace_back([&] {
            for (int k = 0; k < kTimes; ++k) {
                lead.take();
                lead.take();  // who has it keeps it
                if (leading.fetch_add(1) != 0) alone = false;
                ++led;
                leading.fetch_sub(1);
                lead.give_up();
                lead.give_up();  // who does not have it has nothing to give
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(alone && led == kThreads * kTimes);
}

TEST(who_has_one_lead_has_no_other) {
    Lead first, second;
    first.take();
    second.give_up();
    std::thread other([&] {
        second.take();
        first.give_up();  // which is another thread's
        second.give_up();
    });
    other.join();
    first.give_up();
    std::thread next([&] {
        first.take();
        first.give_up();
    });
    next.join();
}
