// What goes before a message.
#include "grpc/metadata.hpp"

#include <chrono>
#include <string>

#include "check.hpp"

using namespace persia::grpc;
using namespace std::chrono_literals;

namespace {

constexpr char kKey[] = "trace-bin";

std::string back(std::string_view text) { return from_header_value(kKey, text).value_or("none"); }

}  // namespace

TEST(keys_that_end_in_bin_have_any_bytes) {
    CHECK(is_binary("trace-bin") && is_binary("-bin") && !is_binary("bin") && !is_binary("trace-bin-id"));
    CHECK(to_header_value("trace", "plain text") == "plain text" && from_header_value("trace", "plain text") == "plain text");
    std::string bytes;
    for (int c = 0; c < 256; ++c) {
        CHECK(from_header_value(kKey, to_header_value(kKey, bytes)) == bytes);  // of each length, and so each rest
        bytes += static_cast<char>(c);
    }
}

TEST(bytes_travel_as_base64_without_padding_and_come_with_or_without) {
    CHECK(to_header_value(kKey, "").empty() && to_header_value(kKey, "f") == "Zg" && to_header_value(kKey, "fo") == "Zm8");
    CHECK(to_header_value(kKey, "foo") == "Zm9v" && to_header_value(kKey, "\xff\xfe\xfb") == "//77");
    CHECK(back("Zg==") == "f" && back("Zg") == "f" && back("Zm8=") == "fo" && back("Zm9v") == "foo" && back("").empty());
}

TEST(what_is_no_base64_has_no_bytes) {
    for (const char* text : {"A", "Zm9vY", "Zm 9v", "Zm9v,Zm9v", "-_-_", "Z=g=", "Zm9\xc3"}) {
        CHECK(!from_header_value(kKey, text));
    }
}

TEST(grpc_keeps_some_keys_for_itself) {
    for (const char* key : {":path", "grpc-timeout", "grpc-anything", "te", "content-type"}) CHECK(is_reserved(key));
    for (const char* key : {"trace", "grpc", "x-grpc-id", "tea", "authorization"}) CHECK(!is_reserved(key));
}

TEST(entries_are_found_by_their_key) {
    const Metadata metadata = {{"a", "1"}, {"b", "2"}, {"a", "3"}};
    CHECK(*find(metadata, "a") == "1" && *find(metadata, "b") == "2" && find(metadata, "c") == nullptr);
}

TEST(timeouts_are_read_in_each_unit) {
    CHECK(parse_timeout("1n") == 1ns && parse_timeout("20u") == 20us && parse_timeout("300m") == 300ms);
    CHECK(parse_timeout("4S") == 4s && parse_timeout("5M") == 5min && parse_timeout("6H") == 6h && parse_timeout("0m") == 0ms);
    CHECK(parse_timeout("99999999n") == 99'999'999ns);
    for (const char* unit : {"S", "M", "H"}) {
        const auto longest = parse_timeout("99999999" + std::string(unit));
        CHECK(longest && *longest > 365 * 24h - 1h && Clock::now() + *longest > Clock::now());
    }
    for (const char* text : {"", "m", "5", "5s", "5x", "-5m", "+5m", " 5m", "5 m", "5.5m", "123456789m", "5mm"}) {
        CHECK(!parse_timeout(text));
    }
}

TEST(timeouts_are_told_as_exactly_as_eight_digits_allow) {
    CHECK(timeout_text(1ns) == "1n" && timeout_text(0ns) == "1n" && timeout_text(-5s) == "1n");
    CHECK(timeout_text(99'999'999ns) == "99999999n" && timeout_text(100ms) == "100000u" && timeout_text(2h) == "7200000m");
    CHECK(timeout_text(100'000'000ns + 999ns) == "100000u");  // never longer than what is left
    for (const Clock::duration left : {3ns, 999'999'999ns, 12'345'678'901ns, 100h + 1ns}) {
        const auto told = parse_timeout(timeout_text(left));
        CHECK(told && *told <= left && *told > left - left / 1'000'000 - 1ns);
    }
}
