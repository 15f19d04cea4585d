// Clients that say or take nothing, or too little: nobody waits for them, and not for ever.
#include "flood.hpp"

using namespace persia::grpc;

namespace {

ServerLimits with_little_patience() {
    ServerLimits limits;
    limits.handshake = limits.stuck = std::chrono::seconds(1);
    return limits;
}

}  // namespace

TEST(slow_readers_hold_up_nobody) {
    Served served;
    std::vector<std::unique_ptr<Caller>> slow;
    for (int i = 0; i < 20; ++i) {
        slow.push_back(std::make_unique<Caller>(served.address, i % 2 == 0 ? 65'535 : 1 << 30, i % 2 == 0, 4096));
        slow.back()->call(kNumbers, framed("10000000"));
        slow.back()->go_on();
    }
    Caller other(served.address);
    for (int i = 0; i < 200; ++i) CHECK(other.ask(kEcho, "x").message() == "x");
    wait_until([&] { return served.server->counts().calls == 20 || served.server->counts().finished >= 220; });
    CHECK(served.server->counts().memory_bytes <= 210'000'000);
    // And they get what they have asked for once they listen.
    slow[1]->until_ended(1);
    CHECK(slow[1]->streams[1].message() == some_text(10'000'000));
}

TEST(slow_writers_hold_up_nobody) {
    Served served;
    std::vector<RawSocket> slow;
    const std::string all =
        kPreface + kSettings + call_frame(1) + frame(NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, framed("slow"));
    for (int i = 0; i < 200; ++i) slow.emplace_back(served.address);
    Caller other(served.address);
    for (const char byte : all) {
        for (RawSocket& raw : slow) CHECK(raw.send({&byte, 1}) == 1);
        CHECK(other.ask(kEcho, "x").message() == "x");
    }
    for (RawSocket& raw : slow) {
        std::string got;
        while (!raw.gone() && !has(got, "slow") && raw.wait()) got += raw.receive();
        CHECK(has(got, "slow"));
    }
}

TEST(who_says_nothing_is_sent_away) {
    ServerLimits limits;
    limits.handshake = std::chrono::seconds(1);
    Served served(limits);
    RawSocket silent(served.address), half(served.address);
    half.send(kPreface.substr(0, 10));
    while (!silent.gone() || !half.gone()) {
        silent.receive();
        half.receive();
        silent.wait();
    }
    wait_until([&] { return served.server->counts().connections == 0; });
}

TEST(a_client_that_is_not_there_is_found_by_a_ping) {
    ServerLimits limits;
    limits.keepalive = limits.keepalive_patience = std::chrono::seconds(1);
    Served served(limits);
    Caller dead(served.address), alive(served.address);
    dead.call(kHold, framed("x"));
    CHECK(dead.until([&] { return served.holding->held() == 1; }));
    alive.call(kHold, framed("x"));
    // The one does not answer what it is asked, the other one does.
    alive.until([&] { return served.holding->ended() == 1; });
    CHECK(served.holding->call(0)->has_ended() && !served.holding->call(1)->has_ended());
}

TEST(a_client_that_takes_nothing_is_given_up) {
    ServerLimits limits;
    limits.stuck = std::chrono::seconds(1);
    Served served(limits);
    Caller stuck(served.address, 65'535, true, 4096);
    stuck.call(kNumbers, framed("10000000"));
    stuck.go_on();
    wait_until([&] { return served.server->counts().accepted == 1; });
    wait_until([&] { return served.server->counts().connections == 0 && served.server->counts().memory_bytes == 0; });
}

TEST(a_request_that_does_not_come_is_given_up) {
    ServerLimits limits;
    limits.stuck = std::chrono::seconds(1);
    Served served(limits);
    Caller slow(served.address);
    std::vector<std::int32_t> streams = {slow.call(kEcho, "", {}, false),
                                         slow.call(kEcho, framed("whole").substr(0, 7), {}, false),
                                         slow.call(kStream, framed("whole").substr(0, 7), {}, false)};
    const std::int32_t quiet = slow.call(kStream, framed("whole"), {}, false);  // a stream need not go on
    for (const std::int32_t stream : streams) {
        CHECK(slow.until_ended(stream) && status_of(slow.streams[stream]) == "4");
        CHECK(has(words_of(slow.streams[stream]), "expected the rest of a message within 1 s"));
    }
    CHECK(!slow.streams[quiet].ended && slow.streams[quiet].message() == "whole");
}

TEST(headers_that_do_not_end_are_given_up) {
    Served served(with_little_patience());
    RawSocket raw(served.address);
    raw.send(kPreface + kSettings + call_frame(1, kEcho, 0));
    wait_until([&] { return served.server->counts().calls == 1; });
    wait_until([&] { return served.server->counts().calls == 0; });
}

// Half of them have said a part of what HTTP/2 begins with.
TEST(half_open_connections_go_and_hold_up_nobody) {
    Served served(with_little_patience());
    Caller other(served.address);
    constexpr std::size_t kMany = 400;
    std::vector<RawSocket> half_open;
    for (std::size_t i = 0; i < kMany; ++i) {
        half_open.emplace_back(served.address);
        if (i % 2 == 0) half_open.back().send(kPreface.substr(0, 1 + i % kPreface.size()));
    }
    while (served.server->counts().connections > 1 || served.server->counts().accepted < kMany + 1) {
        CHECK(other.ask(kEcho, "x").message() == "x");
    }
    for (RawSocket& raw : half_open) {
        while (!raw.gone() && raw.wait()) raw.receive();
        CHECK(raw.gone());
    }
}

// A byte now and then is no progress.
TEST(a_client_that_takes_little_is_given_up) {
    Served served(with_little_patience());
    RawSocket raw(served.address);
    raw.send(kPreface + kSettings + call_frame(1, kNumbers) +
             frame(NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, framed("10000000")));
    const std::string window =
        frame(NGHTTP2_WINDOW_UPDATE, 0, 0, four_bytes(1)) + frame(NGHTTP2_WINDOW_UPDATE, 0, 1, four_bytes(1));
    while (!raw.gone()) {
        raw.receive();
        raw.send(window);
        raw.wait(0, 5);
    }
    wait_until([&] { return served.server->counts().connections == 0 && served.server->counts().memory_bytes == 0; });
}

TEST(a_request_that_comes_by_the_byte_is_given_up) {
    Served served(with_little_patience());
    Caller slow(served.address);
    const std::int32_t stream = slow.call(kEcho, framed(some_text(1 << 20)).substr(0, 10), {}, false);
    while (!slow.streams[stream].ended && !slow.raw.gone()) {
        slow.send_more(stream, "x", false);
        slow.go_on();
        slow.raw.wait(0, 5);
    }
    CHECK(status_of(slow.streams[stream]) == "4");
}
