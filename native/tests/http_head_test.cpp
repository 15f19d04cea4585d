// The head of an HTTP/1.1 request: what is read, and what is refused because two readers could understand it differently.
#include "http/request_head.hpp"

#include <string>
#include <vector>

#include "check.hpp"

using persia::http::end_of_head;
using persia::http::find;
using persia::http::parse_head;
using persia::http::RequestHead;

namespace {

std::string with(const std::string& lines, const std::string& first = "POST /predictions/ctr HTTP/1.1") {
    return first + "\r\nHost: a\r\n" + lines + "\r\n";
}

RequestHead parsed(const std::string& text) {
    RequestHead head;
    const auto refusal = parse_head(text, head);
    if (refusal) std::fprintf(stderr, "%s\n", refusal->message.c_str());
    CHECK(!refusal);
    return head;
}

int status_of(const std::string& text) {
    RequestHead head;
    const auto refusal = parse_head(text, head);
    return refusal ? refusal->status : 200;
}

}  // namespace

TEST(a_request_is_read) {
    const RequestHead head = parsed(with("Content-Type: application/json\r\nX-Id:  a b\t \r\ncontent-length: 12\r\n"));
    CHECK(head.method == "POST" && head.target == "/predictions/ctr");
    CHECK(head.content_length == 12 && head.has_body() && !head.chunked && head.keep_alive);
    CHECK(head.headers.size() == 4 && head.headers[1].first == "Content-Type");
    CHECK(*find(head.headers, "x-ID") == "a b");
    CHECK(find(head.headers, "x-other") == nullptr);
}

TEST(the_last_of_several_headers_counts) {
    const RequestHead head = parsed(with("a: 1\r\nA: 2\r\n"));
    CHECK(*find(head.headers, "a") == "2");
}

TEST(a_head_ends_with_an_empty_line) {
    CHECK(end_of_head("GET / HTTP/1.1\r\nHost: a\r\n") == std::nullopt);
    CHECK(end_of_head("GET / HTTP/1.1\r\n\r\nbody") == 18);
}

TEST(connections_are_kept_as_the_versions_say) {
    CHECK(parsed(with("")).keep_alive);
    CHECK(!parsed(with("Connection: upgrade, Close\r\n")).keep_alive);
    CHECK(!parsed("GET / HTTP/1.0\r\n\r\n").keep_alive);
    CHECK(parsed("GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n").keep_alive);
    CHECK(parsed("GET / HTTP/1.0\r\n\r\n").is_http_1_0);
}

TEST(chunks_and_expectations_are_told) {
    const RequestHead head = parsed(with("Transfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n"));
    CHECK(head.chunked && head.expects_continue && head.has_body());
    CHECK(status_of(with("Expect: tea\r\n")) == 417);
    CHECK(!parsed("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expects_continue);
}

TEST(targets_of_proxies_lose_their_host) {
    CHECK(parsed(with("", "GET http://a:8080/ping?x=1 HTTP/1.1")).target == "/ping?x=1");
    CHECK(parsed(with("", "GET https://a HTTP/1.1")).target == "/");
    CHECK(parsed(with("", "OPTIONS * HTTP/1.1")).target == "*");
}

TEST(what_could_be_understood_differently_is_refused) {
    const std::vector<std::string> bad{
        with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        with("Content-Length: 5\r\nContent-Length: 5\r\n"),
        with("Content-Length: 5\r\ncontent-length: 6\r\n"),
        with("Content-Length: 5, 5\r\n"),
        with("Content-Length: +5\r\n"),
        with("Content-Length: -5\r\n"),
        with("Content-Length: 0x5\r\n"),
        with("Content-Length: \r\n"),
        with("Content-Length: 5 5\r\n"),
        with("Content-Length: 99999999999999999999\r\n"),
        with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        with("Content-Length : 5\r\n"),
        with(" Content-Length: 5\r\n"),
        with("a: b\r\n c\r\n"),
        with("a: b\r\n\tc\r\n"),
        with("a: b\nContent-Length: 5\r\n"),
        with("a: b\rc\r\n"),
        with(std::string("a: b\0c\r\n", 8)),
        with("a: b\x01\r\n"),
        with(": b\r\n"),
        with("a b: c\r\n"),
        with("a\r\n"),
        with("Host: b\r\n"),
        "GET / HTTP/1.1\r\na: b\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET models HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/11\r\nHost: a\r\n\r\n",
        "\r\n\r\n",
    };
    for (const std::string& text : bad) {
        if (status_of(text) != 400) std::fprintf(stderr, "%d: %s\n", status_of(text), text.c_str());
        CHECK(status_of(text) == 400);
    }
    CHECK(status_of(with("Transfer-Encoding: gzip, chunked\r\n")) == 501);
    CHECK(status_of(with("Transfer-Encoding: identity\r\n")) == 501);
    CHECK(status_of(with("Transfer-Encoding: chunked;x=1\r\n")) == 501);
    CHECK(status_of(with("Transfer-Encoding: \x0b"
                         "chunked\r\n")) == 400);
    CHECK(status_of(with("", "GET / HTTP/2.0")) == 505);
}

TEST(too_many_headers_are_refused) {
    std::string lines;
    for (int i = 0; i < 300; ++i) lines += "a: b\r\n";
    CHECK(status_of(with(lines)) == 431);
}

TEST(a_head_that_will_never_be_one_is_refused_at_once) {
    using persia::http::refusal_of_begin;
    for (const char* fine : {"", "G", "GET / HTTP/1.1", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\nHost", "\r"}) {
        CHECK(!refusal_of_begin(fine));
    }
    for (const char* bare : {"GET / HTTP/1.1\n", "\n", "GET / HTTP/1.1\r\nHost: a\n\n", "\nGET"}) {
        const auto refusal = refusal_of_begin(bare);
        CHECK(refusal && refusal->status == 400);
    }
    CHECK(refusal_of_begin("\x16\x03\x01\x02")->message ==
          "expected HTTP in plain text, got TLS: this address does not speak it");
}

TEST(authorization_comes_once) {
    CHECK(status_of(with("Authorization: Bearer a\r\n")) == 200);
    CHECK(status_of(with("Authorization: Bearer a\r\nauthorization: Bearer b\r\n")) == 400);
}
