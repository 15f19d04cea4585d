#include "tracing/span.hpp"

#include <new>
#include <utility>

#include "base/utf8.hpp"

namespace persia::tracing {

namespace {

std::int64_t nanoseconds_of(std::chrono::system_clock::duration time) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
}

}  // namespace

Span::Span(const Caller& caller, const char* name, SpanKind kind, Clock::time_point began) : began_(began) {
    span_.name = name;
    span_.kind = kind;
    span_.context = caller.context;
    span_.context.span = new_span_id();
    span_.parent = caller.context.span;
    caller_ = std::make_shared<const Caller>(Caller{caller.spans, span_.context});
}

// Both times by one look at the system's clock, so that a clock that is set meanwhile makes no span longer or shorter.
Span::~Span() {
    const Clock::duration took = Clock::now() - began_;
    span_.ended_ns = nanoseconds_of(std::chrono::system_clock::now().time_since_epoch());
    span_.began_ns = span_.ended_ns - std::chrono::duration_cast<std::chrono::nanoseconds>(took).count();
    try {
        caller_->spans->add(std::move(span_));
    } catch (const std::exception&) {  // no memory is left: it is lost
    }
}

void Span::set(const char* key, Value value) noexcept {
    try {
        span_.facts.emplace_back(key, std::move(value));
    } catch (const std::bad_alloc&) {
    }
}

void Span::fail(std::string_view problem) noexcept {
    span_.failed = true;
    try {
        span_.problem = as_utf8(problem, kMostProblem);
    } catch (const std::bad_alloc&) {
    }
}

}  // namespace persia::tracing
