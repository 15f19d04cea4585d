// Calls whose time is over, and those that have ended before.
#include "grpc/deadlines.hpp"

#include "check.hpp"
#include "conversations.hpp"

using namespace persia::grpc;

namespace {

constexpr std::size_t kFew = 4'000;

}  // namespace

TEST(calls_that_have_ended_are_forgotten_long_before_their_deadlines) {
    Answering answering;
    for (int i = 0; i < 20'000; ++i) {
        Http2Caller caller;
        caller.call(kLookup, "", {{"grpc-timeout", "99999999H"}}, false);
        CHECK(answering.hear(caller.bytes(), 1 << 20));
        CHECK(answering.server.shared->deadlines.size() < kFew);
    }
}

TEST(calls_that_go_on_are_not_forgotten) {
    ServerLimits limits;
    limits.http2.max_streams = 20'000;
    MemoryServer server(limits);
    server.shared->methods[kStream] = std::make_shared<EchoedStream>();
    server.connect();
    Http2Caller caller;
    CHECK(server.take(caller.bytes()));
    caller.take(server.said());  // how many it may begin
    for (int i = 0; i < 10'000; ++i) caller.call(kStream, "", {{"grpc-timeout", "1n"}}, false);
    CHECK(server.take(caller.bytes()));
    auto due = server.shared->deadlines.on_time(Clock::now());
    CHECK(due.late.size() == 10'000);
    CHECK(server.shared->deadlines.size() == 0);
}
