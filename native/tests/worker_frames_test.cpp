// What a model server says to its workers, and they to it.
#include "inference/worker_frames.hpp"

#include <cstring>
#include <random>
#include <string>

#include "base/error.hpp"
#include "check.hpp"

using namespace persia::inference;

namespace {

std::string bytes_of(const persia::grpc::OutgoingMessage& message) {
    std::string all;
    for (const auto& piece : message.pieces())
        all.append(reinterpret_cast<const char*>(piece.bytes.data()), piece.bytes.size());
    return all;
}

std::span<const std::byte> as_bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string number(std::uint32_t value) {
    return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
            static_cast<char>(value)};
}

std::string text(const std::string& words) { return number(static_cast<std::uint32_t>(words.size())) + words; }

// A reply to two requests, as TorchServe's worker writes it.
std::string two_predictions() {
    return number(200) + text("Prediction success") +  //
           text("id-1") + text("application/json") + number(201) + text("Made") + number(1) + text("x") + text("y") +
           text("[1]") +  //
           text("id-2") + text("") + number(200) + text("") + number(0) + text("") + number(0xffffffff);
}

// Reads one reply, fed in pieces of `step`.
WorkerReply read(const std::string& bytes, std::size_t step, std::size_t most = 1'000) {
    ReplyReader reader(most);
    std::size_t taken = 0;
    while (!reader.complete() && taken < bytes.size()) {
        taken += reader.feed(as_bytes(bytes).subspan(taken, std::min(step, bytes.size() - taken)));
    }
    CHECK(reader.complete() && taken == bytes.size());
    return reader.take();
}

std::string body_of(const Prediction& prediction) {
    return {reinterpret_cast<const char*>(prediction.body.data()), prediction.body.size()};
}

}  // namespace

TEST(a_batch_is_written_as_workers_read_it) {
    const std::string large(10'000, 'x');
    const std::string small = "{}";
    const WorkerRequest first{
        "a", {{"url_path", ""}, {"explain", "False"}}, {{"body", "application/json", as_bytes(small)}}, nullptr};
    const WorkerRequest second{"bc", {}, {{"batch", "", as_bytes(large)}}, nullptr};
    const WorkerRequest* const batch[] = {&first, &second};
    const std::string end = number(0xffffffff);
    CHECK(bytes_of(encode_batch(batch)) == "I" + text("a") + text("url_path") + text("") + text("explain") + text("False") +
                                               end + text("body") + text("application/json") + text(small) + end + text("bc") +
                                               end + text("batch") + text("") + text(large) + end + end);
}

TEST(inputs_that_no_frame_takes_are_told) {
    const std::string longest(16 << 20, 'x');
    const std::string words = " of at most 16777216 bytes, got one of 16777217";
    const auto problem = [](Input input) { return why_not_sendable({"a", {}, {std::move(input)}, nullptr}).value_or(""); };
    CHECK(problem({longest, longest, {}}).empty());
    CHECK(problem({longest + "x", "", {}}) == "expected the name of an input" + words);
    CHECK(problem({"", longest + "x", {}}) == "expected the content type of an input" + words);
    // Nobody looks at the bytes.
    const std::byte* const begin = as_bytes(longest).data();
    CHECK(problem({"", "", {begin, std::size_t{0x7fffffff}}}).empty());
    CHECK(problem({"", "", {begin, std::size_t{0x80000000}}}) ==
          "expected an input of at most 2147483647 bytes, got one of 2147483648");
}

TEST(a_reply_is_read_in_any_pieces) {
    const std::string bytes = two_predictions();
    for (std::size_t step = 1; step <= bytes.size(); ++step) {
        const WorkerReply reply = read(bytes, step);
        CHECK(reply.code == 200 && reply.message == "Prediction success" && reply.predictions.size() == 2);
        const Prediction& first = reply.predictions[0];
        CHECK(first.request_id == "id-1" && first.content_type == "application/json" && first.status == 201 &&
              first.reason == "Made");
        CHECK((first.headers == Headers{{"x", "y"}}) && body_of(first) == "[1]");
        CHECK(reply.predictions[1].request_id == "id-2" && reply.predictions[1].body.empty());
    }
}

TEST(a_reader_goes_on_with_the_next_reply) {
    const std::string bytes = two_predictions() + number(503) + text("Prediction failed") + number(0xffffffff);
    ReplyReader reader(1'000);
    const std::size_t taken = reader.feed(as_bytes(bytes));
    CHECK(reader.complete() && reader.take().predictions.size() == 2);
    reader.feed(as_bytes(bytes).subspan(taken));
    CHECK(reader.complete());
    const WorkerReply failed = reader.take();
    CHECK(failed.code == 503 && failed.message == "Prediction failed" && failed.predictions.empty());
}

TEST(a_body_that_is_too_large_is_passed_over) {
    const WorkerReply reply = read(number(200) + text("") + text("a") + text("") + number(200) + text("") + number(0) +
                                       text(std::string(1'001, 'x')) + text("b") + text("") + number(200) + text("") +
                                       number(0) + text("ok") + number(0xffffffff),
                                   100);
    CHECK(reply.predictions[0].too_large && reply.predictions[0].body.empty());
    CHECK(!reply.predictions[1].too_large && body_of(reply.predictions[1]) == "ok");
}

TEST(a_body_may_be_read_where_it_belongs) {
    ReplyReader reader(1'000);
    CHECK(reader.room().empty());
    reader.feed(as_bytes(number(200) + text("") + text("a") + text("") + number(200) + text("") + number(0) + number(3)));
    CHECK(reader.room().size() == 3);
    std::memcpy(reader.room().data(), "xyz", 2);
    reader.feed_room(2);
    CHECK(reader.room().size() == 1);
    reader.room()[0] = std::byte{'z'};
    reader.feed_room(1);
    reader.feed(as_bytes(number(0xffffffff)));
    CHECK(reader.complete() && body_of(reader.take().predictions[0]) == "xyz");
}

TEST(bytes_that_are_no_reply_are_refused) {
    const std::string until_body = number(200) + text("") + text("a") + text("") + number(200) + text("");
    for (const std::string& bytes :
         {number(200) + number(0x80000000), number(200) + number(0x7fffffff), number(200) + text("") + number(0xfffffffe),
          until_body + number(0xffffffff), until_body + number(0x7fffffff), until_body + number(0) + number(0xffffffff)}) {
        ReplyReader reader(1'000);
        CHECK_THROWS(reader.feed(as_bytes(bytes)), persia::DecodeError);
    }
}

TEST(mutants_of_replies_are_read_or_refused) {
    const std::string bytes = two_predictions();
    std::mt19937 random(1);
    for (int i = 0; i < 20'000; ++i) {
        std::string mutant = bytes;
        for (unsigned k = 0; k <= random() % 3; ++k) mutant[random() % mutant.size()] = static_cast<char>(random());
        ReplyReader reader(1'000);
        try {
            for (std::size_t at = 0; at < mutant.size();) {
                at += reader.feed(as_bytes(mutant).subspan(at, std::min<std::size_t>(1 + random() % 20, mutant.size() - at)));
                if (reader.complete()) reader.take();
            }
        } catch (const persia::DecodeError&) {
        }
    }
}
