// What a client makes of answers that are none: bytes of any kind, in any pieces.
#include <cstdint>
#include <random>
#include <tuple>

#include "check.hpp"
#include "grpc/client_connection.hpp"
#include "http2_peer.hpp"

using namespace persia::grpc;

namespace {

using State = ClientConnection::State;

Reply reply_to(Client& client) {
    CHECK(client.go_on() != State::pending);
    return client.connection.has_ended() ? client.connection.take() : Reply();
}

// What a server says to the first call of a connection.
std::string answer_bytes(const std::string& message, const Headers& trailers = kFine) {
    Client client;
    client.peer.answer(client.ask(), framed(message), trailers);
    return client.peer.bytes();
}

std::string frame(int type, int flags, std::uint32_t stream, std::string_view body, std::uint32_t length) {
    std::string all;
    for (const int shift : {16, 8, 0}) all += static_cast<char>(length >> shift);
    all += static_cast<char>(type);
    all += static_cast<char>(flags);
    for (const int shift : {24, 16, 8, 0}) all += static_cast<char>(stream >> shift);
    return all.append(body);
}

// The reply to a call whose server says just these bytes, and hangs up.
Reply reply_to_bytes(std::string_view bytes, ClientLimits limits = {}) {
    Client client(std::move(limits), false);
    client.ask();
    std::size_t sent = 0;
    while (sent < bytes.size() && !client.connection.has_ended()) {  // as the socket takes them
        const auto part = bytes.substr(sent, 16 << 10);
        if (client.peer.send(part)) sent += part.size();
        client.connection.advance();
    }
    client.peer.hang_up();
    for (int i = 0; i < 1000 && !client.connection.has_ended(); ++i) client.connection.advance();
    CHECK(client.connection.has_ended());
    return client.connection.has_ended() ? client.connection.take() : Reply();
}

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST(an_answer_in_any_two_pieces_is_the_answer) {
    const std::string bytes = answer_bytes("the answer");
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
        Client client({}, false);
        client.ask();
        for (const auto part : {std::string_view(bytes).substr(0, cut), std::string_view(bytes).substr(cut)}) {
            client.peer.send(part);
            client.connection.advance();
        }
        CHECK(client.connection.state() == State::complete);
        CHECK(text_of(client.connection.take().message.bytes()) == "the answer");
    }
}

TEST(an_answer_byte_by_byte_is_the_answer) {
    const std::string bytes = answer_bytes("the answer");
    Client client({}, false);
    client.ask();
    for (const char byte : bytes) {
        CHECK(client.connection.state() == State::pending);
        client.peer.send({&byte, 1});
        client.connection.advance();
    }
    CHECK(client.connection.state() == State::complete);
}

TEST(an_answer_that_is_cut_off_is_none) {
    const std::string bytes = answer_bytes("the answer");
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        const Reply reply = reply_to_bytes(std::string_view(bytes).substr(0, size));
        CHECK(reply.status.code == Code::unavailable && !reply.unprocessed && !reply.is_servers_word);
        CHECK(has(reply.status.message, "the connection ended"));
    }
    CHECK(has(reply_to_bytes("").status.message, "before an answer"));
    CHECK(has(reply_to_bytes(std::string_view(bytes).substr(0, bytes.size() - 1)).status.message, "within an answer"));
}

TEST(what_is_no_http2_ends_the_connection) {
    const std::string kBytes[] = {
        "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n\r\n",
        std::string(1000, '\0'),
        std::string(1000, '\xff'),
        frame(4, 0, 1, "", 0),                                                  // SETTINGS of a stream
        frame(4, 0, 0, "", 0) + frame(0, 0, 0, "x", 1),                         // DATA of no stream
        frame(4, 0, 0, "", 0) + frame(1, 4, 2, "\x88", 1),                      // HEADERS of a stream that nobody began
        frame(4, 0, 0, "", 0) + frame(1, 4, 1, "\xff\xff\xff\xff\xff\xff", 6),  // no HPACK
        frame(4, 0, 0, "", 0) + frame(9, 4, 1, "", 0),                          // CONTINUATION of nothing
        frame(4, 0, 0, "", 0) + frame(5, 4, 1, "\0\0\0\2\x88", 5),              // PUSH_PROMISE
        frame(4, 0, 0, "", 0) + frame(8, 0, 0, std::string(4, '\0'), 4),        // WINDOW_UPDATE by 0
        frame(4, 0, 0, "", 0) + frame(0, 0, 1, "", 0xffffff),                   // more than a frame may be
    };
    for (const std::string& bytes : kBytes) {
        const Reply reply = reply_to_bytes(bytes);
        CHECK(reply.status.code == Code::unavailable && !reply.is_servers_word);
        CHECK(has(reply.status.message, "HTTP/2") || has(reply.status.message, "ended"));
    }
    CHECK(has(reply_to_bytes(kBytes[0]).status.message, "the other end does not speak HTTP/2"));
}

TEST(an_answer_without_a_grpc_status_is_known_by_its_http_status) {
    const std::tuple<const char*, const char*, Code> kAnswers[] = {
        {"200", "application/grpc", Code::unknown},    {"200", "text/html", Code::unknown},
        {"400", "text/html", Code::internal},          {"401", "text/html", Code::unauthenticated},
        {"403", "text/html", Code::permission_denied}, {"404", "text/html", Code::unimplemented},
        {"429", "text/html", Code::unavailable},       {"502", "text/html", Code::unavailable},
        {"503", "text/html", Code::unavailable},       {"504", "text/html", Code::unavailable},
        {"500", "text/html", Code::unknown},
    };
    for (const auto& [status, type, code] : kAnswers) {
        for (const bool only : {false, true}) {
            Client client;
            client.ask();
            const Headers headers = {{":status", status}, {"content-type", type}};
            if (only)
                client.peer.refuse(1, headers);
            else
                client.peer.answer(1, "<html>", {{"x", "y"}}, headers);
            // A message of the right type that is none is found before its status is missed.
            const Reply reply = reply_to(client);
            const bool spoiled = !only && std::string_view(type) == "application/grpc";
            CHECK(reply.status.code == (spoiled ? Code::unavailable : code));
            CHECK(!reply.is_servers_word);
        }
    }
    Client client;
    client.peer.answer(client.ask(), framed("answer"), {{"x", "y"}});
    CHECK(has(reply_to(client).status.message, "expected a grpc-status, got none"));
    CHECK(client.connection.is_usable());
}

TEST(a_server_that_breaks_a_call_off_leaves_the_connection) {
    const std::pair<std::uint32_t, Code> kErrors[] = {
        {NGHTTP2_CANCEL, Code::cancelled}, {NGHTTP2_INTERNAL_ERROR, Code::internal}, {NGHTTP2_NO_ERROR, Code::internal}};
    for (const auto& [error, code] : kErrors) {
        Client client;
        client.peer.reset(client.ask(), error);
        const Reply reply = reply_to(client);
        CHECK(reply.status.code == code && !reply.is_servers_word && !reply.unprocessed);
        CHECK(client.connection.is_usable());
    }
}

TEST(a_good_status_needs_exactly_one_whole_message) {
    const std::pair<std::string, const char*> kBodies[] = {
        {"", "expected one message, got none"},
        {framed("one") + framed("two"), "expected one message, got more"},
        {framed("one") + "x", "expected one message, got more"},
        {framed("one").substr(0, 7), "the begin of one"},
        {framed("one").substr(0, 3), "the begin of one"},
        {"\1" + framed("one").substr(1), "without compression"},
        {"\7" + framed("one").substr(1), "begins with 0 or 1, got 7"},
    };
    for (const auto& [body, words] : kBodies) {
        Client client;
        client.peer.answer(client.ask(), body);
        const Reply reply = reply_to(client);
        CHECK(reply.status.code == Code::unavailable && !reply.is_servers_word);
        CHECK(has(reply.status.message, "an invalid answer") && has(reply.status.message, words));
        CHECK(!client.connection.is_usable());
    }
}

TEST(a_code_that_grpc_does_not_have_is_unknown) {
    for (const char* code : {"17", "-1", "99999999999999999999", "0x0", ""}) {
        Client client;
        client.peer.answer(client.ask(), framed("answer"), {{"grpc-status", code}});
        CHECK(reply_to(client).status.code == Code::unknown);
    }
}

TEST(an_answer_that_is_too_large_says_how_large_and_takes_no_memory) {
    for (const std::uint32_t size : {101u, 0xffffffffu}) {
        std::string body = framed("");
        for (int i = 0; i < 4; ++i) body[static_cast<std::size_t>(1 + i)] = static_cast<char>(size >> (24 - 8 * i));
        ClientLimits limits;
        limits.max_answer_bytes = 100;
        Client client(limits);
        client.peer.answer(client.ask(), body + "some");
        const Reply reply = reply_to(client);
        CHECK(reply.status.code == Code::resource_exhausted && !reply.pushback);
        CHECK(has(reply.status.message, "at most 100 bytes") && has(reply.status.message, std::to_string(size).c_str()));
        client.peer.go_on();
        CHECK(client.connection.is_usable());
    }
}

TEST(the_memory_of_answers_has_a_bound) {
    const auto budget = std::make_shared<MemoryBudget>(1'000'000);
    Client first, second;
    first.peer.answer(first.ask("question", {}, Reservation(budget)), framed(some_text(900'000)));
    second.peer.answer(second.ask("question", {}, Reservation(budget)), framed(some_text(900'000)));
    {
        const Reply kept = reply_to(first);
        CHECK(kept.status.ok() && budget->used() >= 900'000);
        CHECK(reply_to(second).status.code == Code::resource_exhausted);
    }
    CHECK(budget->used() == 0);
    second.peer.go_on();
    Reservation memory(budget);
    CHECK(memory.grow_to(950'000));
    second.peer.answer(second.ask("question", {}, std::move(memory)), framed(some_text(900'000)));
    CHECK(budget->used() == 950'000);  // it was taken before
    CHECK(reply_to(second).status.ok());
    CHECK(budget->used() == 0);
}

TEST(what_comes_before_the_headers_of_an_answer_is_no_answer) {
    Client client({}, false);
    client.ask();
    const std::string informed = frame(4, 0, 0, "", 0) + frame(1, 4, 1, std::string("\x48\x03") + "103", 5);
    client.peer.send(informed);
    client.connection.advance();
    CHECK(client.connection.state() == State::pending);
}

TEST(any_mutation_of_an_answer_ends_the_call) {
    std::mt19937 random(17);
    const auto below = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
    std::string all[] = {answer_bytes("the answer"), answer_bytes(some_text(60'000)),
                         answer_bytes("", {{"grpc-status", "8"}, {"grpc-message", "%41%"}, {"grpc-retry-pushback-ms", "7"}})};
    int good = 0, bad = 0;
    for (int i = 0; i < 6'000; ++i) {
        std::string bytes = all[below(std::size(all))];
        for (std::size_t changes = 1 + below(4); changes > 0; --changes) {
            const std::size_t at = below(below(2) != 0 ? bytes.size() : std::min<std::size_t>(bytes.size(), 200));
            switch (below(4)) {
                case 0:
                    bytes[at] = static_cast<char>(below(256));
                    break;
                case 1:
                    bytes[at] = static_cast<char>(static_cast<unsigned char>(bytes[at]) ^ (1u << below(8)));
                    break;
                case 2:
                    bytes.erase(at, 1 + below(12));
                    break;
                default:
                    bytes.insert(at, bytes.substr(below(bytes.size()), below(40)));
            }
            if (bytes.empty()) bytes = "x";
        }
        const Reply reply = reply_to_bytes(bytes);
        ++(reply.status.ok() ? good : bad);
    }
    CHECK(good > 0 && bad > 0);
}
