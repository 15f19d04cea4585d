// A client that sends as much of something as it can, while another one is answered.
#pragma once

#include <algorithm>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "check.hpp"
#include "resident.hpp"
#include "served.hpp"

namespace persia::grpc {

inline const std::string kSettings = frame(NGHTTP2_SETTINGS, 0, 0, "");

// HEADERS of a call of Echo, without an entry in the table of the other end.
inline std::string call_headers(std::string_view path = kEcho) {
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

inline std::string call_frame(std::uint32_t stream, std::string_view path = kEcho, int flags = NGHTTP2_FLAG_END_HEADERS) {
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
inline Flood flood(Served& served, std::size_t at_most, bool reads, const std::function<std::string(std::uint32_t)>& next) {
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

inline void ends_calmly(const Flood& flood) {
    CHECK(flood.ended);
    // nghttp2 has limits of its own since 1.57, and says INTERNAL_ERROR. Who has much on its way may not hear why at all.
    CHECK(!flood.goaway || *flood.goaway == NGHTTP2_ENHANCE_YOUR_CALM || *flood.goaway == NGHTTP2_INTERNAL_ERROR);
    CHECK(flood.grown < kFewMegabytes);
}

}  // namespace persia::grpc
