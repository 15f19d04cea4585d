// What a request says about itself in headers: its id, its priority, and for how long its caller waits.
#pragma once

#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "inference/job.hpp"

namespace persia::inference {

constexpr std::string_view kRequestId = "x-request-id";
constexpr std::string_view kPriority = "x-priority";
constexpr std::string_view kTimeout = "x-request-timeout";
// Of the metadata, what handlers are told: the form of the answer, and the span of a trace that the request is for.
constexpr std::array<std::string_view, 3> kForHandlers = {"accept", "traceparent", "tracestate"};
// What handlers get of a deadline: milliseconds since 1970.
constexpr std::string_view kDeadline = "x-request-deadline";

struct RequestOptions {
    std::string id;
    bool urgent = false;
    std::optional<Clock::duration> timeout;
};

// What a request is called: as its caller calls it, if that may stand in logs and headers; else by a new id. given: null: it
// says nothing.
std::string request_id_of(const std::string* given);

// The values of kRequestId, kPriority and kTimeout; null: there is no such header. Returns what is wrong with them, if
// anything.
std::variant<RequestOptions, std::string> options_of(const std::string* id, const std::string* priority,
                                                     const std::string* timeout);

// Gives a job its id, its place among others, its deadline, and what its handler hears of that. deadline: the caller's by
// gRPC's own means; of two, the earlier one counts.
void apply(RequestOptions options, std::optional<Clock::time_point> deadline, Job& job);

}  // namespace persia::inference
