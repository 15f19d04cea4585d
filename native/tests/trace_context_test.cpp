// Headers of W3C Trace Context, well and spoiled.
#include "tracing/trace_context.hpp"

#include <set>
#include <string>

#include "check.hpp"
#include "spoiling.hpp"

using namespace persia;
using namespace persia::tracing;

namespace {

const std::string kTrace = "0af7651916cd43dd8448eb211c80319c", kSpan = "b7ad6b7169203331";

std::string header(const std::string& version, const std::string& trace, const std::string& span, const std::string& flags,
                   const std::string& more = "") {
    return version + "-" + trace + "-" + span + "-" + flags + more;
}
const std::string kWell = header("00", kTrace, kSpan, "01");

bool is_digit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

// As the recommendation says it, step by step.
bool is_valid(const std::string& text) {
    if (text.size() < 55) return false;
    for (std::size_t i = 0; i < 55; ++i) {
        const bool is_dash = i == 2 || i == 35 || i == 52;
        if (is_dash ? text[i] != '-' : !is_digit(text[i])) return false;
    }
    if (text.starts_with("ff")) return false;
    if (text.size() > 55 && (text.starts_with("00") || text[55] != '-')) return false;
    return text.substr(3, 32) != std::string(32, '0') && text.substr(36, 16) != std::string(16, '0');
}

}  // namespace

TEST(a_header_is_read_and_written_as_it_was) {
    const auto context = parse_trace_context(kWell, "vendor=1,other=2");
    CHECK(context && context->is_sampled() && context->state == "vendor=1,other=2");
    CHECK(context->trace[0] == 0x0a && context->trace[15] == 0x9c && context->span[0] == 0xb7 && context->span[7] == 0x31);
    CHECK(traceparent_of(*context) == kWell);
    const auto not_sampled = parse_trace_context(header("00", kTrace, kSpan, "00"));
    CHECK(not_sampled && !not_sampled->is_sampled());
}

TEST(flags_that_nobody_knows_are_not_passed_on) {
    CHECK(traceparent_of(*parse_trace_context(header("00", kTrace, kSpan, "ff"))) == header("00", kTrace, kSpan, "03"));
    CHECK(!parse_trace_context(header("00", kTrace, kSpan, "fe"))->is_sampled());
}

TEST(later_versions_are_read_as_far_as_they_are_known) {
    for (const char* more : {"", "-", "-more", "-01-02"}) {
        const auto context = parse_trace_context(header("cc", kTrace, kSpan, "01", more));
        CHECK(context && context->is_sampled() && traceparent_of(*context) == kWell);
    }
    CHECK(!parse_trace_context(header("cc", kTrace, kSpan, "01", ".more")));
    CHECK(!parse_trace_context(header("ff", kTrace, kSpan, "01")));
    CHECK(!parse_trace_context(header("00", kTrace, kSpan, "01", "-more")));
}

TEST(broken_headers_are_none) {
    for (const std::string& text :
         {std::string(), std::string("00"), kWell.substr(0, 54), " " + kWell, kWell + " ", header("00", kTrace, kSpan, "0g"),
          header("0G", kTrace, kSpan, "01"), header("00", std::string(32, '0'), kSpan, "01"),
          header("00", kTrace, std::string(16, '0'), "01"), header("00", "0AF7651916CD43DD8448EB211C80319C", kSpan, "01"),
          header("00", kTrace, kSpan + "0", "1"), std::string(55, '-'), std::string(55, '\0')}) {
        CHECK(!parse_trace_context(text));
    }
}

TEST(a_broken_state_of_vendors_leaves_the_rest) {
    for (const std::string& state : {std::string(513, 'a'), std::string("a=\n"), std::string("a=\xc3\xa4")}) {
        const auto context = parse_trace_context(kWell, state);
        CHECK(context && context->state.empty());
    }
    CHECK(parse_trace_context(kWell, std::string(512, 'a'))->state.size() == 512);
}

TEST(mutants_are_read_as_the_recommendation_says) {
    Spoiler spoiler(7);
    std::size_t valid = 0;
    const std::size_t count = fuzz_mutants(20'000);
    for (std::size_t i = 0; i < count; ++i) {
        std::string text = i % 2 == 0 ? kWell : header("01", kTrace, kSpan, "01", "-more");
        for (std::size_t n = spoiler.below(3); n > 0 && !text.empty(); --n) spoiler.spoil(text, spoiler.below(text.size()));
        const auto context = parse_trace_context(text, text);
        CHECK(context.has_value() == is_valid(text));
        if (!context) continue;
        ++valid;
        const std::string again = traceparent_of(*context);
        CHECK(again.substr(2, 51) == text.substr(2, 51) && is_valid(again));
        CHECK(context->is_sampled() == ((text[54] >= 'a' ? text[54] - 'a' + 10 : text[54] - '0') % 2 == 1));
    }
    CHECK(valid > count / 20 && valid < count);
}

TEST(ids_of_spans_are_not_the_same) {
    std::set<SpanId> ids;
    for (int i = 0; i < 1000; ++i) ids.insert(new_span_id());
    CHECK(ids.size() == 1000 && !ids.contains(SpanId{}));
}
