// What goes before a message: metadata, and the time that a caller has.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace persia::grpc {

using Clock = std::chrono::steady_clock;

// Keys in lower case. The values of keys that end in `-bin` are any bytes; they travel as base64.
using Metadata = std::vector<std::pair<std::string, std::string>>;

// Null: there is no such key.
const std::string* find(const Metadata& metadata, std::string_view key);

// Whether gRPC keeps a header for itself, so that it is no metadata.
bool is_reserved(std::string_view key);
bool is_binary(std::string_view key);

// A value as it travels and back; nullopt: it is no base64.
std::string to_header_value(std::string_view key, std::string_view value);
std::optional<std::string> from_header_value(std::string_view key, std::string_view value);

// `grpc-timeout`: at most eight digits and a unit. nullopt: it is none.
std::optional<Clock::duration> parse_timeout(std::string_view text);
// As exact as eight digits allow; never 0, and never longer than the time that is left.
std::string timeout_text(Clock::duration left);

}  // namespace persia::grpc
