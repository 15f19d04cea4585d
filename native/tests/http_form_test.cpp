// Targets, queries and forms of HTTP requests.
#include "http/form.hpp"

#include <string>

#include "check.hpp"

using persia::http::Fields;
using persia::http::header_parameter;
using persia::http::mime_type;
using persia::http::parse_multipart;
using persia::http::parse_target;
using persia::http::parse_urlencoded;
using persia::http::Refusal;

namespace {

const std::string kType = "multipart/form-data; boundary=xYz";

std::string part(const std::string& headers, const std::string& value) {
    return "--xYz\r\n" + headers + "\r\n\r\n" + value + "\r\n";
}

Fields fields_of(const std::string& body, const std::string& type = kType) {
    auto parsed = parse_multipart(type, body);
    if (const auto* refusal = std::get_if<Refusal>(&parsed)) {
        std::fprintf(stderr, "%s\n", refusal->message.c_str());
        CHECK(false);
        return {};
    }
    return std::get<Fields>(std::move(parsed));
}

bool is_refused(const std::string& body, const std::string& type = kType) {
    return std::holds_alternative<Refusal>(parse_multipart(type, body));
}

}  // namespace

TEST(a_target_has_segments_and_a_query) {
    const auto target = parse_target("/models/a%20b/1.0?min_worker=1&synchronous=&x&url=a%2Bb+c&min_worker=2#end");
    CHECK(target && target->path == "/models/a%20b/1.0");
    CHECK((target->segments == std::vector<std::string>{"models", "a b", "1.0"}));
    CHECK(*target->parameter("min_worker") == "1");
    CHECK(target->parameter("synchronous")->empty() && target->parameter("x")->empty());
    CHECK(*target->parameter("url") == "a+b c");
    CHECK(target->parameter("limit") == nullptr);
}

TEST(a_slash_at_the_end_says_nothing_and_one_within_does) {
    CHECK((parse_target("/models/m/")->segments == std::vector<std::string>{"models", "m"}));
    CHECK((parse_target("/models//m")->segments == std::vector<std::string>{"models", "", "m"}));
    CHECK(parse_target("/")->segments.empty());
    CHECK((parse_target("/a%2Fb")->segments == std::vector<std::string>{"a/b"}));
}

TEST(targets_that_are_encoded_wrongly_are_refused) {
    for (const char* target : {"/%", "/%4", "/%4g", "/a?b=%", "/a?%=1"}) CHECK(!parse_target(target));
}

TEST(urlencoded_forms_are_read) {
    auto parsed = parse_urlencoded("data=hello+world%21&empty=&data=2");
    const Fields& fields = std::get<Fields>(parsed);
    CHECK(fields.size() == 3 && fields[0].name == "data" && fields[0].bytes() == "hello world!");
    CHECK(fields[1].bytes().empty() && fields[2].bytes() == "2");
    CHECK(std::holds_alternative<Refusal>(parse_urlencoded("a=%zz")));
}

TEST(multipart_forms_are_read) {
    const std::string binary("\r\n--xY\0\r\n-", 10);
    const std::string body =
        "preamble\r\n" +
        part("Content-Disposition: form-data; name=\"data\"; filename=\"a;b.bin\"\r\nContent-Type: image/png", binary) +
        part("content-disposition: form-data; name=\"q\\\"x\"\r\nContent-Type: text/plain", "") +
        part("Content-Disposition: form-data; name=plain", "1") + "--xYz--\r\nepilogue";
    const Fields fields = fields_of(body);
    CHECK(fields.size() == 3);
    CHECK(fields[0].name == "data" && fields[0].content_type == "image/png" && fields[0].bytes() == binary);
    CHECK(fields[1].name == "q\"x" && fields[1].content_type.empty() && fields[1].bytes().empty());
    CHECK(fields[2].name == "plain" && fields[2].bytes() == "1");
}

TEST(multipart_forms_may_be_empty_and_have_quoted_boundaries) {
    CHECK(fields_of("--xYz--\r\n").empty());
    CHECK(fields_of("--a b--", "multipart/form-data; charset=utf-8; boundary=\"a b\"").empty());
    CHECK(fields_of("--xYz \t\r\nContent-Disposition: form-data; name=a\r\n\r\nv\r\n--xYz--").size() == 1);
}

TEST(multipart_forms_that_are_none_are_refused) {
    const std::string whole = part("Content-Disposition: form-data; name=a", "value") + "--xYz--\r\n";
    CHECK(!is_refused(whole));
    for (std::size_t size = 0; size < whole.size() - 2; ++size) CHECK(is_refused(whole.substr(0, size)));
    CHECK(is_refused(whole, "multipart/form-data"));
    CHECK(is_refused(whole, "multipart/form-data; boundary="));
    CHECK(is_refused(whole, "multipart/form-data; boundary=" + std::string(71, 'x')));
    CHECK(is_refused(part("Content-Type: text/plain", "value") + "--xYz--"));
    CHECK(is_refused(part("no colon", "value") + "--xYz--"));
    CHECK(is_refused("--xYzX\r\n\r\n"));
}

TEST(content_types_lose_their_parameters) {
    CHECK(mime_type("Application/JSON ; charset=utf-8") == "application/json");
    CHECK(mime_type("").empty());
    CHECK(header_parameter("a; b=\"c;d\"; e=f", "E") == "f");
    CHECK(header_parameter("a; x; e=f", "e") == "f");
    CHECK(header_parameter("a; b=\"c", "b") == std::nullopt);
    CHECK(header_parameter("a", "b") == std::nullopt);
}
