// The spans of sampled requests, from their end until somebody takes them.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tracing/trace_context.hpp"

namespace persia::tracing {

enum class SpanKind {
    internal,
    server,  // a call that is answered
    client,  // a call that is made
};

using Value = std::variant<bool, std::int64_t, double, std::string>;

struct FinishedSpan {
    std::string name = {};
    SpanKind kind = SpanKind::internal;
    TraceContext context = {};                              // its own
    SpanId parent = {};                                     // of the same trace
    std::int64_t began_ns = 0, ended_ns = 0;                // since 1970
    std::vector<std::pair<std::string, Value>> facts = {};  // what is to be known of it
    bool failed = false;
    std::string problem = {};  // why it failed
};

// Thread safety: any thread may call all of it.
class SpanRing {
  public:
    // As many spans are kept at most. What is beyond is dropped, and counted.
    explicit SpanRing(std::size_t most);

    void add(FinishedSpan span);
    // All that are there, in the order of their ends: after so long, or sooner when half of the room is taken, or when it is
    // closed.
    std::vector<FinishedSpan> take(std::chrono::nanoseconds after);
    // Nobody waits in take() any more. Spans are taken all the same.
    void close();

    std::uint64_t dropped() const;

  private:
    const std::size_t most_;
    mutable std::mutex mutex_;  // over what follows
    std::condition_variable changed_;
    std::vector<FinishedSpan> spans_;
    std::uint64_t dropped_ = 0;
    bool closed_ = false;
};

}  // namespace persia::tracing
