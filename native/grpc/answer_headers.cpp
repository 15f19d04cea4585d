#include "grpc/answer_headers.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace persia::grpc {

namespace {

std::optional<long long> number_of(std::string_view text) {
    long long number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return number;
}

Code code_of(std::string_view text) {
    const auto number = number_of(text);
    return number && *number >= 0 && *number <= static_cast<int>(Code::unauthenticated) ? static_cast<Code>(*number)
                                                                                        : Code::unknown;
}

std::chrono::milliseconds pushback_of(std::string_view text) {
    constexpr long long kLongest = 24LL * 3600 * 1000;
    return std::chrono::milliseconds(std::clamp(number_of(text).value_or(-1), -1LL, kLongest));
}

}  // namespace

void AnswerHeaders::add(std::string_view name, std::string_view value) {
    if (name == ":status") {
        http_status = static_cast<int>(std::clamp(number_of(value).value_or(0), 0LL, 999LL));
    } else if (name == "content-type") {
        is_grpc = value.starts_with("application/grpc");
    } else if (name == "grpc-status") {
        code = code_of(value);
    } else if (name == "grpc-message") {
        message = percent_decoded(value);
    } else if (name == "grpc-encoding") {
        packed = value == "gzip";
    } else if (name == "grpc-retry-pushback-ms") {
        pushback = pushback_of(value);
    } else if (!is_reserved(name)) {
        if (auto given = from_header_value(name, value)) metadata.emplace_back(name, *std::move(given));
    }
}

}  // namespace persia::grpc
