// How the end of a call is told.
#include "grpc/status.hpp"

#include <string>

#include "check.hpp"

using namespace persia::grpc;

TEST(words_travel_as_printable_ascii) {
    CHECK(percent_encoded("").empty() && percent_encoded("expected 4, got 5") == "expected 4, got 5");
    CHECK(percent_encoded("100 %") == "100 %25");
    CHECK(percent_encoded("a\nb\x7f") == "a%0Ab%7F");
    CHECK(percent_encoded("\xc3\xa4") == "%C3%A4");
    CHECK(percent_encoded(std::string(1, '\0')) == "%00" && percent_encoded("\xff") == "%FF");
}

TEST(words_come_back_as_they_were) {
    std::string all;
    for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
    CHECK(percent_decoded(percent_encoded(all)) == all);
    for (const char c : percent_encoded(all)) CHECK(c >= ' ' && c <= '~');
    CHECK(percent_decoded("%c3%A4") == "\xc3\xa4");
    CHECK(percent_decoded("%41") == "A" && percent_decoded("x%41y") == "xAy");
}

TEST(what_is_not_encoded_stays_as_it_is) {
    for (const char* text : {"%", "%4", "%g1", "%1g", "100%", "%%", "a % b", "%\xff"}) CHECK(percent_decoded(text) == text);
    CHECK(percent_decoded("%%41") == "%A" && percent_decoded("%4%41") == "%4A");
}

TEST(codes_are_made_of_those_of_http) {
    CHECK(code_of_http_status(400) == Code::internal && code_of_http_status(401) == Code::unauthenticated);
    CHECK(code_of_http_status(403) == Code::permission_denied && code_of_http_status(404) == Code::unimplemented);
    for (const int status : {429, 502, 503, 504}) CHECK(code_of_http_status(status) == Code::unavailable);
    for (const int status : {0, 200, 302, 415, 500}) CHECK(code_of_http_status(status) == Code::unknown);
    CHECK(code_of_http2_error(7) == Code::unavailable && code_of_http2_error(8) == Code::cancelled);
    CHECK(code_of_http2_error(11) == Code::resource_exhausted && code_of_http2_error(12) == Code::permission_denied);
    for (const unsigned error : {0U, 1U, 2U, 3U, 99U}) CHECK(code_of_http2_error(error) == Code::internal);
}
