// Turns: what is estimated wrongly is tried all the same, and what nobody will do is let go.
#include "grpc/work_queue.hpp"

#include <chrono>
#include <memory>

#include "check.hpp"
#include "fake_call.hpp"

using namespace persia;
using namespace std::chrono_literals;
using grpc::Work;
using grpc::WorkQueue;

namespace {

constexpr std::size_t kVeryMuch = std::size_t{1} << 40;  // half an hour, by the first guess

std::shared_ptr<FakeCall> call_for(std::chrono::seconds seconds) {
    auto call = std::make_shared<FakeCall>();
    call->call_info.deadline = grpc::Clock::now() + seconds;
    return call;
}

}  // namespace

TEST(what_nobody_stands_behind_is_tried_whatever_it_is_thought_to_take) {
    WorkQueue queue(1, 5s);
    const auto guess = queue.estimate(kVeryMuch);
    bool done = false;
    const auto call = call_for(60s);
    queue.submit({call, kVeryMuch, [&] { done = true; }});
    CHECK(done && !call->ended);
    CHECK(queue.estimate(kVeryMuch) < guess);  // and is known better now
}

TEST(what_would_be_late_is_refused_where_others_are_at_work) {
    WorkQueue queue(1, 5s);
    bool done = false;
    const auto call = call_for(60s);
    queue.submit({call_for(60s), 1, [&] { queue.submit({call, kVeryMuch, [&] { done = true; }}); }});
    CHECK(!done && call->status.code == grpc::Code::resource_exhausted);
    CHECK(queue.counts().refused == 1);
}

TEST(what_was_held_up_says_little_of_the_next_one) {
    WorkQueue queue(1, 5s);
    constexpr std::size_t kBytes = 1 << 20;
    const auto guess = queue.estimate(kBytes);
    queue.submit({call_for(60s), 4096, [] {
                      const auto end = grpc::Clock::now() + 20ms;
                      while (grpc::Clock::now() < end) {  // as if the machine stood still
                      }
                  }});
    CHECK(queue.estimate(kBytes) > guess && queue.estimate(kBytes) <= 2 * guess);
}

TEST(what_is_dropped_is_let_go) {
    WorkQueue queue(1, 5s);
    std::weak_ptr<FakeCall> waiting;
    queue.submit({call_for(60s), 1, [&] {
                      auto call = call_for(60s);
                      waiting = call;
                      queue.submit({std::move(call), 1, [] {}});
                      CHECK(queue.waiting() == 1 && !waiting.expired());
                      queue.drop();
                      CHECK(queue.waiting() == 0 && waiting.expired());
                  }});
}
