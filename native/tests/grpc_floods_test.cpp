// Clients that send much of what costs a server more than them. Others are answered meanwhile, the memory has a bound, and who
// floods is sent away.
#include "flood.hpp"

using namespace persia::grpc;

TEST(rapid_resets) {
    Served served;
    for (const char* path : {kEcho, kHold, "/test.Test/Other"}) {
        for (const std::uint32_t error : {NGHTTP2_CANCEL, NGHTTP2_NO_ERROR}) {
            for (const bool reads : {true, false}) {
                ends_calmly(flood(served, kMuch, reads, [&](std::uint32_t stream) {
                    return call_frame(stream, path) + frame(NGHTTP2_RST_STREAM, 0, stream, four_bytes(error));
                }));
            }
        }
    }
    CHECK(served.holding->held() == 0);
}

TEST(continuations_without_end) {
    Served served;
    bool begun = false;
    const Flood result = flood(served, kMuch, true, [&](std::uint32_t) {
        const std::string head = std::exchange(begun, true) ? "" : call_frame(1, kEcho, 0);
        return head + frame(NGHTTP2_CONTINUATION, 0, 1, std::string("\0\1x\1y", 5));
    });
    CHECK(result.ended && result.grown < kFewMegabytes);
}

TEST(empty_continuations) {
    Served served;
    bool begun = false;
    const Flood result = flood(served, kMuch, true, [&](std::uint32_t) {
        return (std::exchange(begun, true) ? "" : call_frame(1, kEcho, 0)) + frame(NGHTTP2_CONTINUATION, 0, 1, "");
    });
    CHECK(result.ended && result.grown < kFewMegabytes);
}

TEST(pings) {
    Served served;
    for (const bool reads : {true, false}) {
        ends_calmly(flood(served, kMuch, reads, [](std::uint32_t) { return frame(NGHTTP2_PING, 0, 0, "12345678"); }));
    }
}

TEST(pongs) {
    Served served;
    ends_calmly(flood(served, kMuch, true, [](std::uint32_t) { return frame(NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, "12345678"); }));
}

TEST(settings) {
    Served served;
    for (const bool reads : {true, false}) {
        ends_calmly(flood(served, kMuch, reads, [](std::uint32_t) { return kSettings; }));
    }
}

TEST(window_updates) {
    Served served;
    ends_calmly(flood(served, kMuch, true, [](std::uint32_t) { return frame(NGHTTP2_WINDOW_UPDATE, 0, 0, four_bytes(1)); }));
    bool begun = false;  // of a stream that has ended
    ends_calmly(flood(served, kMuch, true, [&](std::uint32_t) {
        const std::string head = std::exchange(begun, true) ? "" : call_frame(1, "/test.Test/Other", 5);
        return head + frame(NGHTTP2_WINDOW_UPDATE, 0, 1, four_bytes(1));
    }));
}

TEST(priorities) {
    Served served;
    ends_calmly(flood(served, kMuch, true,
                      [](std::uint32_t stream) { return frame(NGHTTP2_PRIORITY, 0, stream, four_bytes(0) + '\1'); }));
}

// They are to be left out, and cost no more than their bytes.
TEST(frames_of_no_known_type) {
    Served served;
    CHECK(flood(served, kMuch, true, [](std::uint32_t) { return frame(0x77, 0, 0, "x"); }).grown < kFewMegabytes);
}

TEST(data_that_carries_nothing) {
    Served served;
    for (const bool padded : {false, true}) {
        bool begun = false;
        ends_calmly(flood(served, kMuch, true, [&](std::uint32_t) {
            const std::string head = std::exchange(begun, true) ? "" : call_frame(1);
            return head + (padded ? frame(NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1, std::string("\3\0\0\0", 4))
                                  : frame(NGHTTP2_DATA, 0, 1, ""));
        }));
    }
}

TEST(trailers_and_resets_of_nothing) {
    Served served;
    ends_calmly(flood(served, kMuch, true, [&](std::uint32_t stream) {
        const std::string head = stream == 1 ? call_frame(1) : "";
        return head + frame(NGHTTP2_RST_STREAM, 0, 1, four_bytes(NGHTTP2_CANCEL));
    }));
}

// More than it may have open, and it does not listen when it is told.
TEST(more_streams_than_are_allowed) {
    ServerLimits limits;
    limits.http2.max_streams = 10;
    Served served(limits);
    for (const bool reads : {true, false}) {
        const Flood result = flood(served, kMuch, reads, [](std::uint32_t stream) { return call_frame(stream, kHold); });
        CHECK(result.ended && result.grown < kFewMegabytes);
    }
}

TEST(calls_that_are_wrong) {
    Served served;
    const Flood result = flood(served, kMuch, false, [](std::uint32_t stream) {
        return frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, stream, std::string("\x83\x86\x00\x01X\x01y", 7));
    });
    CHECK(result.ended && result.grown < kFewMegabytes);
}

// Each names the same long header again, in a byte: the table of HPACK.
TEST(headers_that_grow_when_they_are_read) {
    Served served;
    const Flood result = flood(served, kMuch, true, [](std::uint32_t stream) {
        std::string block = call_headers();
        if (stream == 1) {
            block += "\x40\x01x";
            block += "\x7f\xd1\x1e";  // 4000 bytes
            block += std::string(4000, 'x');
        }
        block += std::string(8'000, '\xbe');  // the newest entry
        return frame(NGHTTP2_HEADERS, 5, stream, block.substr(0, 16'000));
    });
    CHECK(result.ended && result.grown < kFewMegabytes);
}

// Who is answered may give up as many calls as it is answered, and not only so many a second.
TEST(calls_may_be_given_up_by_those_who_are_answered) {
    Served served;
    Caller caller(served.address, 1 << 20);
    constexpr int kCalls = 2'500, kAtOnce = 100;
    for (int i = 0; i < kCalls / kAtOnce; ++i) {
        std::int32_t last = 0;
        for (int k = 0; k < kAtOnce; ++k) last = caller.call(kEcho, framed("x"));
        CHECK(caller.until_ended(last));
    }
    for (int i = 0; i < kCalls / kAtOnce; ++i) {
        const std::size_t ends = served.holding->ends;
        std::vector<std::int32_t> held;
        for (int k = 0; k < kAtOnce; ++k) held.push_back(caller.call(kHold, framed("x")));
        caller.go_on();
        for (const std::int32_t stream : held) caller.reset(stream);
        CHECK(caller.until([&] { return served.holding->ends == ends + kAtOnce; }));
    }
    CHECK(caller.ask(kEcho, "still there").message() == "still there" && !caller.goaway);
}

// To learn how fast the way is, as some clients do.
TEST(pings_between_the_parts_of_an_answer_are_no_flood) {
    Served served;
    Caller caller(served.address);
    const std::int32_t stream = caller.call(kNumbers, framed("10000000"));
    std::size_t had = 0;
    int pings = 0;
    CHECK(caller.until([&] {
        if (caller.streams[stream].body.size() != std::exchange(had, caller.streams[stream].body.size())) {
            caller.ping();
            ++pings;
        }
        return caller.streams[stream].ended;
    }));
    CHECK(caller.streams[stream].message() == some_text(10'000'000) && pings > 30);
}
