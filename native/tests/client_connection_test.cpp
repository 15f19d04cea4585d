// Calls over one connection, whose other end answers as a server should.
#include "grpc/client_connection.hpp"

#include "check.hpp"
#include "http2_peer.hpp"

using namespace persia::grpc;
using namespace std::chrono_literals;

namespace {

using State = ClientConnection::State;

std::string answer_of(Client& client) {
    const Reply reply = client.connection.take();
    return reply.status.ok() ? text_of(reply.message.bytes()) : reply.status.message;
}

}  // namespace

TEST(a_call_is_asked_and_answered) {
    Client client;
    CHECK(client.connection.state() == State::idle);
    const std::int32_t stream = client.ask("question", Clock::now() + 10s);
    CHECK(client.connection.state() == State::pending);
    const Http2Peer::Stream& asked = client.peer.streams[stream];
    CHECK(asked.ended && asked.body == framed("question"));
    CHECK(asked.header(":method") == "POST" && asked.header(":path") == kPath && asked.header(":scheme") == "http");
    CHECK(asked.header(":authority") == "127.0.0.1:5000" && asked.header("te") == "trailers");
    CHECK(asked.header("content-type") == "application/grpc" && asked.header("authorization").empty());
    const auto timeout = parse_timeout(asked.header("grpc-timeout"));
    CHECK(timeout && *timeout > 9s && *timeout <= 10s);
    client.peer.answer(stream, framed("answer"));
    CHECK(client.go_on() == State::complete);
    const Reply reply = client.connection.take();
    CHECK(reply.status.ok() && reply.is_servers_word && !reply.unprocessed && !reply.pushback);
    CHECK(text_of(reply.message.bytes()) == "answer");
    CHECK(reinterpret_cast<std::uintptr_t>(reply.message.bytes().data()) % alignof(std::max_align_t) == 0);
    CHECK(client.connection.state() == State::idle && client.connection.is_usable());
}

TEST(the_first_call_does_not_wait_for_the_server) {
    Client client({}, false);
    const std::int32_t stream = client.ask();
    CHECK(stream == 1 && client.peer.streams[stream].ended);
}

TEST(many_calls_follow_each_other_in_few_bytes) {
    Client client;
    for (int i = 0; i < 200; ++i) {
        const std::string text = "call " + std::to_string(i);
        const std::int32_t stream = client.ask(text, Clock::now() + 10s);
        CHECK(client.peer.streams[stream].body == framed(text));
        client.peer.answer(stream, framed(text + " answered"));
        CHECK(client.go_on() == State::complete);
        CHECK(answer_of(client) == text + " answered");
        CHECK(client.connection.is_usable());
    }
    const std::size_t before = client.peer.received;
    client.ask("", Clock::now() + 10s);
    CHECK(client.peer.received - before < 90);
}

TEST(metadata_and_a_token_go_with_a_call_and_come_back) {
    Client client;
    const Metadata metadata = {{"x-model", "ctr"}, {"x-key-bin", std::string("\0\xff", 2)}};
    client.connection.begin({.path = kPath, .message = {}, .token = "secret", .metadata = &metadata});
    client.peer.receive();
    const Http2Peer::Stream& asked = client.peer.streams[1];
    CHECK(asked.header("authorization") == "Bearer secret" && asked.header("x-model") == "ctr");
    CHECK(asked.header("x-key-bin") == "AP8" && asked.header("grpc-timeout").empty());
    client.peer.answer(1, framed(""), {{"grpc-status", "0"}, {"x-version", "7"}, {"x-id-bin", "AP8"}});
    CHECK(client.go_on() == State::complete);
    const Reply reply = client.connection.take();
    CHECK((reply.trailers == Metadata{{"x-version", "7"}, {"x-id-bin", std::string("\0\xff", 2)}}));
    client.ask();
    CHECK(client.peer.streams[3].header("authorization").empty() && client.peer.streams[3].header("x-model").empty());
}

TEST(an_error_of_the_server_comes_with_its_words) {
    for (const bool only : {false, true}) {
        Client client;
        const std::int32_t stream = client.ask();
        const Headers status = {{"grpc-status", "3"}, {"grpc-message", "expected 5%25, got %C3%A9"}};
        if (only) {
            Headers headers = kAnswer;
            headers.insert(headers.end(), status.begin(), status.end());
            client.peer.refuse(stream, headers);
        } else {
            client.peer.answer(stream, "", status);
        }
        CHECK(client.go_on() == State::complete);
        const Reply reply = client.connection.take();
        CHECK(reply.status.code == Code::invalid_argument && reply.status.message == "expected 5%, got \xc3\xa9");
        CHECK(reply.is_servers_word && !reply.pushback && client.connection.is_usable());
    }
}

TEST(a_server_with_too_much_to_do_says_when_to_come_back) {
    const std::pair<const char*, int> kPushbacks[] = {{"250", 250}, {"0", 0}, {"-1", -1}, {"soon", -1}, {"1e3", -1}};
    for (const auto& [text, milliseconds] : kPushbacks) {
        Client client;
        client.peer.answer(client.ask(), "", {{"grpc-status", "8"}, {"grpc-retry-pushback-ms", text}});
        CHECK(client.go_on() == State::complete);
        const Reply reply = client.connection.take();
        CHECK(reply.status.code == Code::resource_exhausted);
        CHECK(reply.pushback == std::chrono::milliseconds(milliseconds));
        CHECK(reply.trailers.empty());
    }
}

TEST(large_messages_go_both_ways) {
    Client client;
    const std::string question = some_text(5'000'003), answer = some_text(9'000'001);
    client.ask(question);
    CHECK(client.connection.wants_to_write() || client.peer.streams[1].body.size() < question.size());
    for (int i = 0; i < 10'000 && !client.peer.streams[1].ended; ++i) client.go_on(1);
    CHECK(client.peer.streams[1].body == framed(question));
    client.peer.answer(1, framed(answer));
    CHECK(client.go_on(10'000) == State::complete);
    CHECK(answer_of(client) == answer);
    CHECK(client.connection.is_usable());
}

TEST(an_answer_may_be_packed) {
    // "answer" by gzip.
    const unsigned char packed[] = {31, 139, 8,  0, 0, 0,  0,  0,   2,   3, 75, 204, 43,
                                    46, 79,  45, 2, 0, 37, 74, 221, 218, 6, 0,  0,   0};
    std::string body = framed({reinterpret_cast<const char*>(packed), sizeof(packed)});
    body[0] = 1;
    Headers headers = kAnswer;
    headers.emplace_back("grpc-encoding", "gzip");
    Client client;
    client.peer.answer(client.ask(), body, kFine, headers);
    CHECK(client.go_on() == State::complete);
    CHECK(answer_of(client) == "answer");
}

TEST(an_answer_may_come_before_the_question_is_all_sent) {
    Client client;
    client.ask(some_text(3'000'000));
    Headers headers = kAnswer;
    headers.emplace_back("grpc-status", "8");
    client.peer.refuse(1, headers);
    CHECK(client.go_on() == State::complete);
    CHECK(client.connection.take().status.code == Code::resource_exhausted);
    for (int i = 0; i < 100; ++i) {
        client.peer.go_on();
        static_cast<void>(client.connection.is_usable());
    }
    CHECK(client.peer.streams[1].reset == NGHTTP2_CANCEL && !client.peer.streams[1].ended);
    CHECK(client.connection.is_usable());
    client.peer.answer(client.ask(), framed("next"));
    CHECK(client.go_on() == State::complete && answer_of(client) == "next");
}

TEST(a_call_that_is_given_up_is_cancelled_at_the_server) {
    Client client;
    client.ask("first");
    client.connection.cancel();
    CHECK(client.connection.state() == State::idle);
    CHECK(client.connection.waits_for_pong() && !client.connection.is_usable());  // the server may hang
    client.peer.go_on();
    CHECK(client.peer.streams[1].reset == NGHTTP2_CANCEL);
    CHECK(client.connection.is_usable() && !client.connection.waits_for_pong());
    client.peer.answer(client.ask("second"), framed("answer to the second"));
    CHECK(client.go_on() == State::complete && answer_of(client) == "answer to the second");
}

TEST(what_still_comes_for_a_call_that_was_given_up_is_left_out) {
    Client client;
    client.ask("first");
    client.peer.answer(1, framed(some_text(100'000)));
    client.peer.go_on();
    client.connection.cancel();
    client.peer.go_on();
    CHECK(client.connection.is_usable());
    client.peer.answer(client.ask("second"), framed("second"));
    CHECK(client.go_on() == State::complete && answer_of(client) == "second");
}

TEST(a_reply_that_nobody_takes_is_given_up) {
    Client client;
    client.peer.answer(client.ask(), framed("answer"));
    CHECK(client.go_on() == State::complete);
    client.connection.cancel();
    CHECK(client.connection.state() == State::idle && client.connection.is_usable());
}

TEST(between_calls_pings_are_answered_and_the_end_is_seen) {
    Client client;
    client.peer.answer(client.ask(), framed(""));
    CHECK(client.go_on() == State::complete);
    client.connection.take();
    client.peer.ping();
    client.peer.go_on();
    CHECK(client.connection.is_usable());
    client.peer.receive();
    CHECK(client.peer.pongs == 1);
    client.peer.hang_up();
    CHECK(!client.connection.is_usable());
}

TEST(a_server_that_leaves_between_calls_gets_no_more) {
    Client client;
    client.peer.answer(client.ask(), framed(""));
    CHECK(client.go_on() == State::complete);
    client.connection.take();
    client.peer.leave(1);
    client.peer.go_on();
    CHECK(!client.connection.is_usable());
}

TEST(a_server_that_leaves_finishes_the_call_that_it_has) {
    for (const std::int32_t last : {1, 0x7fffffff}) {
        Client client;
        client.ask();
        client.peer.leave(last);
        client.peer.go_on();
        client.connection.advance();
        CHECK(client.connection.state() == State::pending);
        client.peer.answer(1, framed("last"));
        CHECK(client.go_on() == State::complete && answer_of(client) == "last");
        CHECK(!client.connection.is_usable());
    }
}

TEST(a_call_that_a_server_has_not_begun_is_known_as_such) {
    Client leaving;
    leaving.ask();
    leaving.peer.leave(0);
    CHECK(leaving.go_on() == State::failed);
    const Reply left = leaving.connection.take();
    CHECK(left.unprocessed && left.status.code == Code::unavailable && !left.is_servers_word);
    CHECK(leaving.connection.state() == State::failed && !leaving.connection.is_usable());

    Client refusing;
    refusing.ask();
    refusing.peer.reset(1, NGHTTP2_REFUSED_STREAM);
    CHECK(refusing.go_on() == State::complete);
    const Reply refused = refusing.connection.take();
    CHECK(refused.unprocessed && refused.status.code == Code::unavailable);
    CHECK(refusing.connection.is_usable());
}

TEST(a_server_that_takes_no_calls_at_all_does_not_hold_us) {
    Client client({}, true, {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0}});
    client.peer.go_on();
    static_cast<void>(client.connection.is_usable());  // it knows the limit now
    client.ask();
    for (int i = 0; i < 10; ++i) client.go_on(1);
    CHECK(client.connection.state() == State::pending && client.peer.streams.empty());
    client.connection.cancel();
    CHECK(client.connection.state() == State::idle);
    client.peer.go_on();
    CHECK(client.connection.is_usable());
}
