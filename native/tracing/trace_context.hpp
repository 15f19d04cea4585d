// For which span of which trace something is done, as W3C Trace Context writes it in headers.
//
// Thread safety: plain values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace persia::tracing {

constexpr char kTraceParent[] = "traceparent";
constexpr char kTraceState[] = "tracestate";

using TraceId = std::array<std::uint8_t, 16>;
using SpanId = std::array<std::uint8_t, 8>;

struct TraceContext {
    TraceId trace = {};
    SpanId span = {};
    std::uint8_t flags = 0;
    std::string state = {};  // what vendors say of the trace, which is passed on as it is

    bool is_sampled() const { return (flags & 1) != 0; }
};

// Of the headers `traceparent` and `tracestate`. nullopt: the first one is broken, or of a version that cannot be read. A
// broken `tracestate` is left out, as the other header is worth as much without it.
std::optional<TraceContext> parse_trace_context(std::string_view traceparent, std::string_view tracestate = {});

// The header `traceparent`.
std::string traceparent_of(const TraceContext& context);

// One that no other span has. It holds nothing between two calls, so that processes that are forked do not make the same ones.
SpanId new_span_id();

}  // namespace persia::tracing
