// Clients that send much of what costs a server more than them. Others are answered meanwhile, the memory has a bound, and who
// floods is sent away.
#include <sys/resource.h>
#include <sys/wait.h>

#include <functional>

#include "check.hpp"
#include "resident.hpp"
#include "served.hpp"

using namespace persia::grpc;

namespace {

const std::string kSettings = frame(NGHTTP2_SETTINGS, 0, 0, "");

// HEADERS of a call of Echo, without an entry in the table of the other end.
std::string call_headers(std::string_view path = kEcho) {
    std::string block = "\x83\x86";  // :method POST, :scheme http
    const auto literal = [&](std::string_view name, std::string_view value) {
        block += '\0';
        block += static_cast<char>(name.size());
        block += name;
        block += static_cast<char>(value.size());
        block += value;
    };
    literal(":path", path);
    literal(":authority", "test");
    literal("te", "trailers");
    literal("content-type", "application/grpc");
    return block;
}

std::string call_frame(std::uint32_t stream, std::string_view path = kEcho, int flags = NGHTTP2_FLAG_END_HEADERS) {
    return frame(NGHTTP2_HEADERS, flags, stream, call_headers(path));
}

struct Flood {
    bool ended = false;  // the server has gone
    std::optional<std::uint32_t> goaway;
    std::size_t sent = 0;   // bytes
    std::size_t grown = 0;  // of this process, at most
};

// Sends what next() makes until the server has gone, or so many bytes are sent. Another caller is answered all the time.
// reads: whether what the server says is taken meanwhile.
Flood flood(Served& served, std::size_t at_most, bool reads, const std::function<std::string(std::uint32_t)>& next) {
    Flood flood;
    Http2Caller heard;  // understands what comes
    static_cast<void>(heard.bytes());
    RawSocket raw(served.address);
    Caller other(served.address);
    CHECK(other.ask(kEcho, "before").message() == "before");
    std::string unsent = kPreface + kSettings;
    const std::size_t before = resident_bytes();
    std::uint32_t stream = 1;
    for (int round = 0; !raw.gone() && flood.sent < at_most; ++round) {
        while (unsent.size() < 256 << 10) unsent += next(std::exchange(stream, stream + 2));
        const std::size_t sent = raw.send(unsent);
        unsent.erase(0, sent);
        flood.sent += sent;
        if (reads) heard.take(raw.receive());
        heard.streams.clear();  // it is the server's memory that is measured
        if (sent == 0 && !raw.gone() && !raw.wait(reads ? POLLIN | POLLOUT : POLLOUT)) break;  // the server reads no more
        const std::size_t now = resident_bytes();
        flood.grown = std::max(flood.grown, now - std::min(before, now));
        if (round % 16 == 0) CHECK(other.ask(kEcho, "meanwhile").message() == "meanwhile");
    }
    for (std::string got = raw.receive(); !got.empty(); got = raw.receive()) heard.take(got);
    CHECK(other.ask(kEcho, "after").message() == "after");
    flood.ended = raw.gone();
    flood.goaway = heard.goaway;
    std::printf("    %zu kB sent, %zu kB grown, %s %s\n", flood.sent >> 10, flood.grown >> 10,
                flood.goaway  ? nghttp2_http2_strerror(*flood.goaway)
                : flood.ended ? "ended"
                              : "goes on",
                heard.goaway_words.c_str());
    return flood;
}

constexpr std::size_t kMuch = 16 << 20, kFewMegabytes = 48 << 20;

void ends_calmly(const Flood& flood) {
    CHECK(flood.ended);
    // nghttp2 has limits of its own since 1.57, and says INTERNAL_ERROR. Who has much on its way may not hear why at all.
    CHECK(!flood.goaway || *flood.goaway == NGHTTP2_ENHANCE_YOUR_CALM || *flood.goaway == NGHTTP2_INTERNAL_ERROR);
    CHECK(flood.grown < kFewMegabytes);
}

}  // namespace

// The first one, as what others have freed would count as memory that it does not take.
// Half of them say nothing at all, the others have been answered once. A process of its own has the other ends, and none of the
// server's memory.
TEST(ten_thousand_idle_connections_cost_little) {
    constexpr std::size_t kConnections = 10'000;
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < kConnections + 100) {
        std::printf("    skipped: this system allows %zu descriptors\n", static_cast<std::size_t>(limit.rlim_cur));
        return;
    }
    int orders[2], reports[2];
    CHECK(pipe(orders) == 0 && pipe(reports) == 0);
    const pid_t other_end = fork();  // while there is one thread
    if (other_end == 0) {
        char address[64] = {}, byte = 0;
        close(orders[1]);
        bool fine = read(orders[0], address, sizeof(address)) > 0;
        std::vector<RawSocket> idle;
        const std::string hello =
            kPreface + kSettings + call_frame(1) + frame(NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, framed("x"));
        for (std::size_t i = 0; fine && i < kConnections; ++i) {
            idle.emplace_back(address);
            if (i % 2 == 0) fine = idle.back().send(hello) == hello.size();
        }
        fine = fine && write(reports[1], "y", 1) == 1;
        while (read(orders[0], &byte, 1) > 0) {  // until the test is over
        }
        _exit(fine ? 0 : 1);
    }
    close(orders[0]);
    ServerLimits limits;
    limits.handshake = std::chrono::hours(1);
    Served served(limits);
    Caller other(served.address);
    const std::size_t before = resident_bytes();
    CHECK(write(orders[1], served.address.c_str(), served.address.size() + 1) > 0);
    while (served.server->counts().connections < kConnections + 1 || served.server->counts().finished < kConnections / 2) {
        CHECK(other.ask(kEcho, "x").message() == "x");
    }
    char byte = 0;
    CHECK(read(reports[0], &byte, 1) == 1);
    for (int i = 0; i < 100; ++i) CHECK(other.ask(kEcho, "x").message() == "x");
    const std::size_t each = (resident_bytes() - before) / kConnections;
    std::printf("    %zu bytes for each\n", each);
    CHECK(each < 64 << 10);
    close(orders[1]);
    int status = 0;
    CHECK(waitpid(other_end, &status, 0) == other_end && status == 0);
    close(reports[0]);
    close(reports[1]);
}

TEST(rapid_resets) {
    Served served;
    for (const char* path : {kEcho, kHold, "/test.Test/Other"}) {
        for (const bool reads : {true, false}) {
            ends_calmly(flood(served, kMuch, reads, [&](std::uint32_t stream) {
                return call_frame(stream, path) + frame(NGHTTP2_RST_STREAM, 0, stream, four_bytes(NGHTTP2_CANCEL));
            }));
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
