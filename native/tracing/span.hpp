// Spans that are under way. There are none for requests that are not sampled: whoever would record one has a null pointer.
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <string_view>

#include "tracing/span_ring.hpp"

namespace persia::tracing {

using Clock = std::chrono::steady_clock;

// For whom something is done that is sampled, and where its spans go.
struct Caller {
    std::shared_ptr<SpanRing> spans;
    TraceContext context;
};
using CallerPtr = std::shared_ptr<const Caller>;  // null: it is not sampled

// Thread safety: for one thread at a time.
class Span {
  public:
    // name: lives as long as the process.
    Span(const Caller& caller, const char* name, SpanKind kind, Clock::time_point began = Clock::now());
    // Ends it.
    ~Span();
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

    // Both leave it as it is where there is no memory. problem: may be whatever a caller or another server has sent; so no
    // more of it is kept than kMostProblem bytes, and those as UTF-8.
    void set(const char* key, Value value) noexcept;
    void fail(std::string_view problem) noexcept;
    static constexpr std::size_t kMostProblem = 1024;

    // For what is done within it.
    const CallerPtr& caller() const { return caller_; }

  private:
    const Clock::time_point began_;
    FinishedSpan span_;
    CallerPtr caller_;
};
using SpanPtr = std::unique_ptr<Span>;  // null: not sampled

inline SpanPtr begin_span(const CallerPtr& caller, const char* name, SpanKind kind) {
    return caller ? std::make_unique<Span>(*caller, name, kind) : nullptr;
}

// Works within a span, which fails with what the work throws.
template <class Work>
auto within(const SpanPtr& span, Work work) {
    try {
        return work();
    } catch (const std::exception& error) {
        if (span) span->fail(error.what());
        throw;
    }
}

}  // namespace persia::tracing
