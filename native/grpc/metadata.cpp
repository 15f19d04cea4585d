#include "grpc/metadata.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace persia::grpc {

namespace {

constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string base64(std::string_view bytes) {
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const std::size_t n = std::min<std::size_t>(3, bytes.size() - i);
        std::uint32_t group = 0;
        for (std::size_t k = 0; k < 3; ++k) group = group << 8 | (k < n ? static_cast<unsigned char>(bytes[i + k]) : 0U);
        for (std::size_t k = 0; k <= n; ++k) text += kAlphabet[group >> (18 - 6 * k) & 63];
    }
    return text;  // without padding, as gRPC sends it
}

int sextet(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+') return 62;
    if (c == '/') return 63;
    return -1;
}

std::optional<std::string> from_base64(std::string_view text) {
    while (!text.empty() && text.back() == '=') text.remove_suffix(1);
    if (text.size() % 4 == 1) return std::nullopt;
    std::string bytes;
    std::uint32_t group = 0;
    unsigned bits = 0;
    for (const char c : text) {
        const int value = sextet(c);
        if (value < 0) return std::nullopt;
        group = group << 6 | static_cast<std::uint32_t>(value);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            bytes += static_cast<char>(group >> bits & 0xff);
        }
    }
    return bytes;
}

struct Unit {
    char name;
    std::chrono::nanoseconds length;
};
constexpr std::array<Unit, 6> kUnits = {{{'n', std::chrono::nanoseconds(1)},
                                         {'u', std::chrono::microseconds(1)},
                                         {'m', std::chrono::milliseconds(1)},
                                         {'S', std::chrono::seconds(1)},
                                         {'M', std::chrono::minutes(1)},
                                         {'H', std::chrono::hours(1)}}};
constexpr std::int64_t kMostDigits = 99'999'999;
// A year: more than anybody waits, and not too much to be added to a time.
constexpr std::chrono::nanoseconds kLongest = std::chrono::hours(24 * 365);

}  // namespace

const std::string* find(const Metadata& metadata, std::string_view key) {
    const auto found = std::find_if(metadata.begin(), metadata.end(), [&](const auto& entry) { return entry.first == key; });
    return found == metadata.end() ? nullptr : &found->second;
}

bool is_binary(std::string_view key) { return key.ends_with("-bin"); }

bool is_reserved(std::string_view key) {
    return key.starts_with(':') || key.starts_with("grpc-") || key == "te" || key == "content-type";
}

std::string to_header_value(std::string_view key, std::string_view value) {
    return is_binary(key) ? base64(value) : std::string(value);
}

std::optional<std::string> from_header_value(std::string_view key, std::string_view value) {
    return is_binary(key) ? from_base64(value) : std::string(value);
}

std::optional<Clock::duration> parse_timeout(std::string_view text) {
    if (text.size() < 2 || text.size() > 9) return std::nullopt;
    std::int64_t count = 0;
    for (const char c : text.substr(0, text.size() - 1)) {
        if (c < '0' || c > '9') return std::nullopt;
        count = 10 * count + (c - '0');
    }
    for (const Unit& unit : kUnits) {
        if (unit.name != text.back()) continue;
        const std::int64_t most = kLongest / unit.length;
        return std::chrono::duration_cast<Clock::duration>(unit.length * std::min(count, most));
    }
    return std::nullopt;
}

std::string timeout_text(Clock::duration left) {
    const auto exact = std::max<std::chrono::nanoseconds>(left, std::chrono::nanoseconds(1));
    for (const Unit& unit : kUnits) {
        if (const std::int64_t count = exact / unit.length; count <= kMostDigits) return std::to_string(count) + unit.name;
    }
    return std::to_string(kMostDigits) + 'H';
}

}  // namespace persia::grpc
