// Bodies of HTTP/1.1 requests, in whatever pieces they come.
#include "http/body_reader.hpp"

#include <cstring>
#include <memory>
#include <string>

#include "check.hpp"

using persia::grpc::MemoryBudget;
using persia::http::BodyReader;
using persia::http::RequestHead;

namespace {

constexpr std::size_t kMost = 1'000'000;

RequestHead chunked() {
    RequestHead head;
    head.chunked = true;
    return head;
}

RequestHead of_length(std::uint64_t bytes) {
    RequestHead head;
    head.content_length = bytes;
    return head;
}

std::string text_of(BodyReader& reader) {
    const auto message = reader.take();
    return {reinterpret_cast<const char*>(message.bytes().data()), message.size()};
}

// What comes of `bytes` that are fed in pieces of `step`; empty: refused, or not complete. left: bytes behind the body.
std::string read(const RequestHead& head, const std::string& bytes, std::size_t step, std::size_t left = 0) {
    BodyReader reader(head, kMost, nullptr);
    std::size_t taken = 0;
    while (taken < bytes.size() && !reader.complete() && !reader.refusal()) {
        taken += reader.feed(std::string_view(bytes).substr(taken, step));
    }
    if (reader.refusal() || !reader.complete()) return {};
    CHECK(bytes.size() - taken == left);
    return text_of(reader);
}

int status_of(const std::string& bytes, std::size_t most = kMost) {
    BodyReader reader(chunked(), most, nullptr);
    reader.feed(bytes);
    return reader.refusal() ? reader.refusal()->status : 200;
}

}  // namespace

TEST(a_body_is_as_long_as_its_length_says) {
    for (const std::size_t step : {1, 2, 3, 100}) CHECK(read(of_length(5), "helloGET /", step, 5) == "hello");
    BodyReader none(of_length(0), kMost, nullptr);
    CHECK(none.complete() && none.feed("GET /") == 0);
}

TEST(a_body_is_put_together_from_its_chunks) {
    const std::string bytes = "5\r\nhello\r\n007;name=\"x\"\r\n, world\r\n0\r\nx-sum: 1\r\n\r\n";
    for (std::size_t step = 1; step <= bytes.size(); ++step) CHECK(read(chunked(), bytes, step) == "hello, world");
    CHECK(read(chunked(), "0\r\n\r\nGET", 100, 3).empty());
    CHECK(read(chunked(), "A\r\n0123456789\r\n0\r\n\r\n", 4) == "0123456789");
}

TEST(chunks_that_could_be_understood_differently_are_refused) {
    for (const char* bytes : {"5\nhello\r\n", "5\r\nhello\n0\r\n", "5\r\nhelloX\r\n", "-5\r\n", "0x5\r\n", " 5\r\n", "5 \r\n",
                              "\r\n", "g\r\n", "5\r\rhello\r\n", "1234567890abcdef0\r\n", "0\r\na: b\n\r\n"}) {
        if (status_of(bytes) != 400) std::fprintf(stderr, "%d: %s\n", status_of(bytes), bytes);
        CHECK(status_of(bytes) == 400);
    }
    CHECK(status_of(std::string(300, '1')) == 400);
    CHECK(status_of("0\r\n" + std::string(70'000, 'a')) == 400);
}

TEST(a_body_that_is_too_large_is_refused_before_it_comes) {
    BodyReader reader(of_length(kMost + 1), kMost, nullptr);
    CHECK(reader.refusal() && reader.refusal()->status == 413);
    CHECK(status_of("6\r\n", 5) == 413);
    CHECK(status_of("3\r\nabc\r\n3\r\n", 5) == 413);
    CHECK(status_of("fffffffffffffff\r\n") == 413);
}

TEST(memory_is_taken_of_the_budget_as_bytes_come) {
    const auto budget = std::make_shared<MemoryBudget>(100'000);
    {
        BodyReader reader(of_length(500'000), kMost, budget);
        reader.feed("a");
        CHECK(budget->used() > 0 && budget->used() < 50'000);
        while (!reader.refusal()) reader.feed(std::string(1'000, 'a'));
        CHECK(reader.refusal()->status == 503);
        CHECK(budget->used() <= 100'000);
    }
    CHECK(budget->used() == 0);
    {
        BodyReader reader(of_length(50'000), kMost, budget);
        reader.feed(std::string(50'000, 'a'));
        const auto message = reader.take();
        CHECK(message.size() == 50'000 && budget->used() >= 50'000);
    }
    CHECK(budget->used() == 0);
}

TEST(bytes_may_be_read_where_they_belong) {
    BodyReader reader(of_length(100'000), kMost, nullptr);
    std::size_t read = 0;
    while (!reader.complete()) {
        const auto room = reader.room();
        CHECK(!room.empty() && room.size() <= 100'000 - read);
        std::memset(room.data(), 'x', room.size());
        reader.fed_room(room.size());
        read += room.size();
    }
    CHECK(read == 100'000 && text_of(reader) == std::string(100'000, 'x'));
    BodyReader pieces(chunked(), kMost, nullptr);
    CHECK(pieces.room().empty());
    pieces.feed("3\r\na");
    CHECK(pieces.room().size() == 2);
}
