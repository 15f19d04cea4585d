#include "tracing/trace_context.hpp"

#include <sys/random.h>

#include <algorithm>
#include <cstddef>

namespace persia::tracing {

namespace {

constexpr std::size_t kLength = 55;  // `00-` trace `-` span `-` flags
constexpr std::size_t kTrace = 3, kSpan = 36, kFlags = 53;
constexpr std::size_t kMostState = 512;       // that everybody who passes it on has to take
constexpr std::uint8_t kFlagsOfVersion0 = 3;  // sampled, and that the id of the trace is random; others are sent as 0

int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;  // capitals, too
}

// False: these are no digits.
bool parse_hex(std::string_view text, std::uint8_t* bytes) {
    for (std::size_t i = 0; i < text.size(); i += 2) {
        const int high = digit(text[i]), low = digit(text[i + 1]);
        if (high < 0 || low < 0) return false;
        bytes[i / 2] = static_cast<std::uint8_t>(high << 4 | low);
    }
    return true;
}

template <class Id>
bool is_zero(const Id& id) {
    return std::ranges::all_of(id, [](std::uint8_t byte) { return byte == 0; });
}

void put_hex(std::string& text, const std::uint8_t* bytes, std::size_t count) {
    constexpr char kDigits[] = "0123456789abcdef";
    for (std::size_t i = 0; i < count; ++i) {
        text += kDigits[bytes[i] >> 4];
        text += kDigits[bytes[i] & 15];
    }
}

bool is_state(std::string_view text) {
    return text.size() <= kMostState && std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

}  // namespace

std::optional<TraceContext> parse_trace_context(std::string_view traceparent, std::string_view tracestate) {
    if (traceparent.size() < kLength) return std::nullopt;
    for (const std::size_t at : {kTrace - 1, kSpan - 1, kFlags - 1}) {
        if (traceparent[at] != '-') return std::nullopt;
    }
    TraceContext context;
    std::uint8_t version = 0;
    if (!parse_hex(traceparent.substr(0, 2), &version) || version == 0xff) return std::nullopt;
    // Later versions begin with the same fields, and may have more behind them.
    if (traceparent.size() > kLength && (version == 0 || traceparent[kLength] != '-')) return std::nullopt;
    if (!parse_hex(traceparent.substr(kTrace, 2 * context.trace.size()), context.trace.data()) ||
        !parse_hex(traceparent.substr(kSpan, 2 * context.span.size()), context.span.data()) ||
        !parse_hex(traceparent.substr(kFlags, 2), &context.flags)) {
        return std::nullopt;
    }
    if (is_zero(context.trace) || is_zero(context.span)) return std::nullopt;
    context.flags &= kFlagsOfVersion0;
    if (is_state(tracestate)) context.state = tracestate;
    return context;
}

std::string traceparent_of(const TraceContext& context) {
    std::string text = "00-";
    text.reserve(kLength);
    put_hex(text, context.trace.data(), context.trace.size());
    text += '-';
    put_hex(text, context.span.data(), context.span.size());
    text += '-';
    put_hex(text, &context.flags, 1);
    return text;
}

SpanId new_span_id() {
    SpanId id = {};
    while (is_zero(id)) {
        if (::getrandom(id.data(), id.size(), 0) != static_cast<ssize_t>(id.size())) id = {};
    }
    return id;
}

}  // namespace persia::tracing
