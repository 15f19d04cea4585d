// What a server allows its clients, and what it tells those who want more.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "check.hpp"
#include "resident.hpp"
#include "served.hpp"

using namespace persia::grpc;

namespace {

constexpr std::size_t kMega = 1 << 20;

ServerLimits with_memory(std::size_t bytes) {
    ServerLimits limits;
    limits.max_memory_bytes = bytes;
    return limits;
}

}  // namespace

TEST(a_message_is_at_most_so_large_both_ways) {
    ServerLimits limits;
    limits.max_request_bytes = 1000;
    limits.max_answer_bytes = 500;
    Served served(limits);
    Caller caller(served.address);
    CHECK(caller.ask(kEcho, some_text(500)).message() == some_text(500));
    const auto& request = caller.ask(kEcho, some_text(1001));
    CHECK(status_of(request) == "8" && has(words_of(request), "at most 1000 bytes, got one of 1001"));
    for (const char* path : {kEcho, kStream}) {
        const std::int32_t stream = caller.call(path, framed(some_text(501)));
        CHECK(caller.until_ended(stream) && status_of(caller.streams[stream]) == "8");
        CHECK(has(words_of(caller.streams[stream]), "at most 500 bytes, got one of 501"));
    }
    CHECK(status_of(caller.ask(kEcho, some_text(1000))) == "8");
}

TEST(a_client_that_was_refused_need_not_send_the_rest) {
    ServerLimits limits;
    limits.max_request_bytes = 1000;
    Served served(limits);
    Caller caller(served.address);
    std::vector<std::int32_t> streams;
    for (int i = 0; i < 50; ++i) {
        streams.push_back(caller.call("/test.Test/Other", "", {}, false));
        streams.push_back(caller.call(kEcho, framed(some_text(1001)), {}, false));
    }
    // The server ends them wholly, as it would have no room for others else.
    for (const std::int32_t stream : streams) {
        CHECK(caller.until([&] { return caller.streams[stream].closed.has_value(); }));
        CHECK(caller.streams[stream].ended && caller.streams[stream].reset == NGHTTP2_NO_ERROR);
    }
    CHECK(caller.until([&] { return served.server->counts().calls == 0; }));
}

TEST(headers_are_at_most_so_large) {
    Served served;
    Caller caller(served.address);
    const auto& fits = caller.ask(kEcho, "x", {{"x", std::string(60'000, 'x')}});
    CHECK(fits.message() == "x");
    Headers many;
    for (int i = 0; i < 2'000; ++i) many.emplace_back("x", "y");  // 34 bytes each, as HTTP/2 counts them
    const auto& refused = caller.ask(kEcho, "x", many);
    CHECK(status_of(refused) == "8" && has(words_of(refused), "at most 65536 bytes of headers"));
    CHECK(caller.ask(kEcho, "x").message() == "x");
}

TEST(a_header_that_is_far_too_large_costs_its_call_alone) {
    Served served;
    Caller caller(served.address);
    const std::int32_t other = caller.call(kHold, framed("held"), {{"authorization", "first"}});
    CHECK(caller.until([&] { return served.holding->held() == 1; }));
    for (const std::size_t size : {65'536UL, 65'537UL, 70'000UL, 100'000UL, 900'000UL}) {
        for (const std::size_t name : {1UL, 2UL, 66'000UL}) {
            // What comes behind it is found by the same table of headers.
            const auto& refused = caller.ask(kEcho, "x", {{std::string(name, 'n'), std::string(size, 'v')}, {"x-after", "it"}});
            CHECK(status_of(refused) == "8" && has(words_of(refused), "at most 65536 bytes of headers"));
            CHECK(caller.ask(kEcho, "x", {{"x-after", "it"}, {"x-more", "of it"}}).message() == "x");
        }
    }
    served.holding->release();
    CHECK(caller.until_ended(other) && status_of(caller.streams[other]) == "0" && !caller.goaway);
}

TEST(a_connection_with_far_more_headers_than_are_allowed_is_told_why_it_ends) {
    Served served;
    Caller caller(served.address);
    Headers many;
    for (int i = 0; i < 100; ++i) many.emplace_back("x" + std::to_string(i), std::string(3'000, 'x'));
    caller.call(kEcho, framed("x"), many);
    CHECK(!caller.until([&] { return false; }) && caller.goaway);
    CHECK(has(caller.goaway_words, "far more headers than are allowed"));
}

TEST(headers_take_of_the_memory) {
    Served served(with_memory(kMega));
    Caller caller(served.address);
    std::vector<std::int32_t> streams;
    for (int i = 0; i < 40; ++i) streams.push_back(caller.call(kEcho, "", {{"x", std::string(50'000, 'x')}}, false));
    CHECK(caller.until([&] { return caller.streams[streams.back()].ended; }));
    CHECK(status_of(caller.streams[streams.back()]) == "8");
    CHECK(has(words_of(caller.streams[streams.back()]), "expected memory for the headers of a call"));
    CHECK(served.server->counts().memory_bytes <= kMega && served.server->counts().memory_bytes > kMega / 2);
    caller.raw.hang_up();
    wait_until([&] { return served.server->counts().memory_bytes == 0; });
}

TEST(a_connection_has_at_most_so_many_streams) {
    ServerLimits limits;
    limits.http2.max_streams = 10;
    Served served(limits);
    Caller caller(served.address);
    for (int i = 0; i < 30; ++i) caller.call(kHold, framed("x"));
    CHECK(caller.until([&] { return served.holding->held() >= 10; }));
    CHECK(served.holding->held() == 10);
    std::size_t good = 0, refused = 0;
    CHECK(caller.until([&] {
        served.holding->release();
        good = refused = 0;
        for (const auto& [id, stream] : caller.streams) {
            good += status_of(stream) == "0" ? 1 : 0;
            refused += stream.closed == NGHTTP2_REFUSED_STREAM ? 1 : 0;
        }
        return good + refused == 30;
    }));
    CHECK(good >= 10);
}

TEST(there_are_at_most_so_many_calls) {
    ServerLimits limits;
    limits.max_calls = 5;
    Served served(limits);
    Caller one(served.address), other(served.address);
    for (int i = 0; i < 5; ++i) one.call(kHold, framed("x"));
    CHECK(one.until([&] { return served.holding->held() == 5; }));
    const auto& refused = other.ask(kEcho, "x");
    CHECK(status_of(refused) == "8" && has(words_of(refused), "at most 5 calls under way"));
    served.holding->release();
    CHECK(one.until([&] { return served.server->counts().calls == 0; }));
    CHECK(other.ask(kEcho, "x").message() == "x");
}

TEST(large_requests_together_stay_within_the_memory) {
    const std::size_t limit = 16 * kMega;
    Served served(with_memory(limit));
    const std::size_t before = resident_bytes();
    std::vector<std::unique_ptr<Caller>> callers;
    std::vector<std::int32_t> streams;
    const std::string body = framed(some_text(2 * kMega));
    for (int i = 0; i < 20; ++i) {
        callers.push_back(std::make_unique<Caller>(served.address));
        streams.push_back(callers.back()->call(kHold, body));
    }
    std::size_t refused = 0;
    for (std::size_t i = 0; refused + served.holding->held() < 20; i = (i + 1) % 20) {
        callers[i]->go_on();
        refused = 0;
        for (std::size_t k = 0; k < 20; ++k) refused += status_of(callers[k]->streams[streams[k]]) == "8" ? 1 : 0;
        CHECK(served.server->counts().memory_bytes <= limit);
    }
    CHECK(refused >= 12 && served.holding->held() >= 1);
    for (std::size_t k = 0; k < 20; ++k) {
        const auto& stream = callers[k]->streams[streams[k]];
        if (stream.ended) CHECK(has(words_of(stream), "expected memory for a message of 2097152 bytes, got none"));
    }
    const std::size_t grown = resident_bytes() - before;
    std::printf("    %zu MB grown\n", grown >> 20);
    CHECK(grown < 20 * 6 * body.size() + 2 * limit);  // most of it are the copies of what the callers have to send
    Caller small(served.address);
    served.holding->release();
    CHECK(small.ask(kEcho, "small").message() == "small");
    for (auto& caller : callers) caller->until([&] { return caller->streams.begin()->second.closed.has_value(); });
    wait_until([&] { return served.server->counts().memory_bytes == 0; });
}

TEST(large_answers_together_stay_within_the_memory) {
    const std::size_t limit = 16 * kMega;
    Served served(with_memory(limit));
    // They take nothing, so that all answers stay.
    std::vector<std::unique_ptr<Caller>> slow;
    for (int i = 0; i < 20; ++i) {
        slow.push_back(std::make_unique<Caller>(served.address, 65'535, true, 4096));
        slow.back()->call(kNumbers, framed(std::to_string(3 * kMega)));
    }
    std::size_t refused = 0;
    for (std::size_t i = 0; refused < 15; i = (i + 1) % 20) {
        slow[i]->go_on();
        refused = 0;
        for (auto& caller : slow) refused += status_of(caller->streams.begin()->second) == "8" ? 1 : 0;
        CHECK(served.server->counts().memory_bytes <= limit);
    }
    CHECK(refused == 15 && served.server->counts().memory_bytes >= 15 * kMega);
    Caller other(served.address);
    CHECK(other.ask(kEcho, "small").message() == "small");
    slow.clear();
    wait_until([&] { return served.server->counts().memory_bytes == 0; });
}

TEST(idle_connections_make_room) {
    ServerLimits limits;
    limits.max_connections = 8;
    Served served(limits);
    Caller busy(served.address), idle(served.address);
    const std::int32_t held = busy.call(kHold, framed("x"));
    CHECK(busy.until([&] { return served.holding->held() == 1; }) && idle.ask(kEcho, "x").message() == "x");
    std::vector<std::unique_ptr<Caller>> others;
    for (int i = 0; i < 20; ++i) {
        others.push_back(std::make_unique<Caller>(served.address));
        CHECK(others.back()->ask(kEcho, "x").message() == "x");
    }
    CHECK(!idle.until([] { return false; }));
    CHECK(served.server->counts().evicted >= 14 && served.server->counts().connections <= 8);
    served.holding->release();
    CHECK(busy.until_ended(held) && busy.streams[held].message() == "x");
}

TEST(calls_that_have_not_come_whole_make_room_after_those) {
    ServerLimits limits;
    limits.max_connections = 4;
    Served served(limits);
    std::vector<std::unique_ptr<Caller>> slow;
    for (int i = 0; i < 4; ++i) {
        slow.push_back(std::make_unique<Caller>(served.address));
        slow.back()->call(kHold, "\0\0", {}, false);
        CHECK(slow.back()->until([&] { return served.server->counts().calls == slow.size(); }));
    }
    Caller other(served.address);
    CHECK(other.ask(kEcho, "x").message() == "x");
    CHECK(slow[0]->until_ended(1) && status_of(slow[0]->streams[1]) == "14");
    CHECK(!slow[0]->until([] { return false; }) && served.server->counts().evicted == 1);
    CHECK(served.holding->ends == 1);  // the method is told, though it has seen nothing of it
}

TEST(where_all_are_at_work_nobody_is_let_in) {
    ServerLimits limits;
    limits.max_connections = 2;
    Served served(limits);
    Caller one(served.address), two(served.address);
    one.call(kHold, framed("x"));
    two.call(kHold, framed("x"));
    CHECK(one.until([&] { return served.holding->held() == 1; }) && two.until([&] { return served.holding->held() == 2; }));
    Caller third(served.address);
    CHECK(!third.until([] { return false; }));
    CHECK(served.holding->ended() == 0);
}

// A process may have no more descriptors: idle connections make room then, too.
TEST(idle_connections_give_their_descriptors) {
    Served served;
    std::vector<std::unique_ptr<Caller>> idle;
    for (int i = 0; i < 5; ++i) {
        idle.push_back(std::make_unique<Caller>(served.address));
        CHECK(idle.back()->ask(kEcho, "x").message() == "x");
    }
    rlimit before{};
    getrlimit(RLIMIT_NOFILE, &before);
    const int next = open("/dev/null", O_RDONLY | O_CLOEXEC);  // the lowest that is free
    close(next);
    rlimit few = before;
    few.rlim_cur = static_cast<rlim_t>(next) + 1;  // for the caller's end, and none for the server's
    setrlimit(RLIMIT_NOFILE, &few);
    Caller late(served.address);
    CHECK(late.ask(kEcho, "x").message() == "x");
    CHECK(served.server->counts().evicted >= 1 && served.server->counts().evicted <= 2);  // one descriptor is kept free
    setrlimit(RLIMIT_NOFILE, &before);
    CHECK(!idle[0]->until([] { return false; }));
}
