// HTTP/2 between two ends of ours: messages, windows, and what ends a stream or a connection.
#include "grpc/http2.hpp"

#include <sys/socket.h>

#include <map>
#include <memory>
#include <string>

#include "check.hpp"
#include "http2_peer.hpp"

using namespace persia::grpc;

namespace {

// What came over a stream.
struct Came {
    Headers headers;
    std::string body;
    bool ended = false;
    std::optional<std::uint32_t> closed;  // with this error
};

class End final : public Http2 {
  public:
    End(Side side, int socket, const Http2Limits& limits) : Http2(side, plain_transport(socket), limits) {}

    std::map<std::int32_t, Came> streams;
    std::string room;  // where bytes of streams may be read to; empty: nowhere
    std::vector<bool> pings;
    std::vector<std::int32_t> goaways;
    std::size_t read_in_place = 0;

  private:
    void on_stream_began(std::int32_t stream) override { streams[stream]; }
    void on_header(std::int32_t stream, std::string_view name, std::string_view value) override {
        streams[stream].headers.emplace_back(name, value);
    }
    void on_headers_complete(std::int32_t, bool) override {}
    void on_data(std::int32_t stream, std::span<const std::byte> bytes) override {
        streams[stream].body += text_of(bytes);
        if (bytes.data() == reinterpret_cast<const std::byte*>(room.data())) read_in_place += bytes.size();
    }
    void on_stream_ended(std::int32_t stream) override { streams[stream].ended = true; }
    void on_stream_closed(std::int32_t stream, std::uint32_t error) override { streams[stream].closed = error; }
    void on_goaway(std::int32_t last_stream, std::uint32_t) override { goaways.push_back(last_stream); }
    void on_ping(bool acknowledged) override { pings.push_back(acknowledged); }
    void on_idle_frame() override {}
    std::span<std::byte> room_of(std::int32_t) override { return std::as_writable_bytes(std::span(room)); }
};

const Headers kRequest = {{":method", "POST"}, {":scheme", "http"}, {":path", "/a/b"}, {":authority", "here"}};
const Headers kEnd = {{"grpc-status", "0"}};

// Both ends.
struct Pair {
    explicit Pair(const Http2Limits& of_server = {}, const Http2Limits& of_client = {.max_streams = 0}) {
        int both[2];
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both) == 0);
        server = std::make_unique<End>(Http2::Side::server, both[0], of_server);
        client = std::make_unique<End>(Http2::Side::client, both[1], of_client);
    }

    // Until neither end has anything to say.
    void go_on() const {
        for (int quiet = 0; quiet < 3;) {
            const std::size_t before = client->unsent() + server->unsent();
            for (End* end : {client.get(), server.get()}) {
                end->flush();
                end->read(std::size_t{1} << 20);
                end->flush();
            }
            quiet = client->unsent() + server->unsent() == before ? quiet + 1 : 0;
        }
    }
    std::int32_t ask(std::string message) const {
        const std::int32_t stream = client->submit_request(kRequest);
        client->submit_message(stream, OutgoingMessage(std::move(message)));
        client->submit_end(stream);
        return stream;
    }

    std::unique_ptr<End> server, client;
};

}  // namespace

TEST(messages_go_over_whole_in_both_directions) {
    for (const std::size_t size : {0UL, 1UL, 500UL, 600UL, 70'000UL, 3'000'000UL}) {
        const Pair pair;
        const std::string text = some_text(size);
        const std::int32_t stream = pair.ask(text);
        pair.go_on();
        const Came& asked = pair.server->streams.at(stream);
        CHECK(asked.body == framed(text) && asked.ended && *find(asked.headers, ":path") == "/a/b");
        pair.server->submit_headers(stream, kAnswer);
        pair.server->submit_message(stream, OutgoingMessage(text));
        pair.server->submit_message(stream, OutgoingMessage(std::string("more")));
        pair.server->submit_trailers(stream, kEnd);
        pair.go_on();
        const Came& answer = pair.client->streams.at(stream);
        CHECK(answer.body == framed(text) + framed("more") && answer.ended && *find(answer.headers, "grpc-status") == "0");
        CHECK(answer.closed == 0U && asked.closed == 0U);
        CHECK(pair.client->unsent() == 0 && pair.server->unsent() == 0 && pair.server->unsent(stream) == 0);
    }
}

TEST(small_windows_and_frames_hold_nothing_up) {
    const Http2Limits narrow{.stream_window = 1'000, .connection_window = 65'535, .max_frame_bytes = 16'384};
    const Pair pair(narrow);
    const std::string text = some_text(200'000);
    const std::int32_t first = pair.ask(text), second = pair.ask(text);
    pair.go_on();
    for (const std::int32_t stream : {first, second}) CHECK(pair.server->streams.at(stream).body == framed(text));
}

TEST(what_is_not_read_yet_is_unsent) {
    const Pair pair;
    pair.go_on();  // so that the windows are known
    const std::string text = some_text(50'000'000);
    const std::int32_t stream = pair.ask(text);
    pair.client->flush();
    CHECK(pair.client->unsent(stream) > 40'000'000 && pair.client->unsent() > pair.client->unsent(stream));
    CHECK(pair.client->wants_to_write());
    pair.client->submit_reset(stream, NGHTTP2_CANCEL);
    CHECK(pair.client->unsent(stream) == 0);
    pair.go_on();
    CHECK(pair.client->unsent() == 0 && pair.server->streams.at(stream).closed == std::uint32_t{NGHTTP2_CANCEL});
    CHECK(!pair.server->streams.at(stream).ended);
    pair.client->submit_message(stream, OutgoingMessage(std::string("late")));  // of a stream that has ended
    pair.client->submit_end(stream);
    CHECK(pair.client->unsent() == 0 && !pair.client->failed());
}

TEST(what_a_message_is_lent_is_kept_until_it_was_written) {
    for (const std::size_t size : {10UL, 100UL, 513UL, 20'000UL}) {
        const Pair pair;
        pair.go_on();
        const std::string much = some_text(4'000'000);  // more than a socket takes: what follows stays in line
        const std::int32_t before = pair.ask(much);
        pair.client->flush();
        auto owner = std::make_shared<std::string>(some_text(size));
        const std::weak_ptr<std::string> lives = owner;
        const std::int32_t stream = pair.client->submit_request(kRequest);
        OutgoingMessage message;
        message.append(std::as_bytes(std::span(*owner)), owner);
        pair.client->submit_message(stream, message);
        pair.client->submit_end(stream);
        const std::string text = *owner;
        message = {};
        owner.reset();
        for (int i = 0; i < 1'000 && pair.client->unsent(stream) != 0; ++i) {  // until it is in a frame, that is not written
            pair.client->flush();
            CHECK(!lives.expired());
            pair.server->read(65'536);
        }
        pair.go_on();
        CHECK(lives.expired() && pair.server->streams.at(stream).body == framed(text));
        CHECK(pair.server->streams.at(before).body == framed(much));
    }
}

TEST(large_frames_are_read_to_their_place) {
    const Pair pair;
    pair.server->room = std::string(1'000'000, '\0');
    const std::int32_t stream = pair.ask(some_text(900'000));
    pair.go_on();
    CHECK(pair.server->streams.at(stream).body == framed(some_text(900'000)));
    CHECK(pair.server->read_in_place > 100'000);
}

TEST(pings_and_farewells_are_heard) {
    const Pair pair;
    const std::int32_t stream = pair.ask("x");
    pair.client->submit_ping();
    pair.go_on();
    CHECK((pair.server->pings == std::vector<bool>{false}) && (pair.client->pings == std::vector<bool>{true}));
    pair.server->submit_shutdown_notice();
    pair.go_on();
    CHECK((pair.client->goaways == std::vector<std::int32_t>{0x7fffffff}));
    pair.server->submit_goaway(NGHTTP2_NO_ERROR, "bye");
    pair.go_on();
    CHECK(pair.client->goaways.back() == stream && !pair.client->failed());
    pair.server->submit_trailers_only(stream, kAnswer);
    pair.go_on();
    CHECK(pair.client->streams.at(stream).ended && pair.client->failed() && pair.client->failure().empty());
}

TEST(no_more_streams_are_begun_than_the_other_end_allows) {
    const Pair pair(Http2Limits{.max_streams = 2});
    pair.go_on();
    const std::int32_t first = pair.ask("1");
    pair.ask("2");
    const std::int32_t third = pair.ask("3");
    pair.go_on();
    CHECK(pair.server->streams.size() == 2 && !pair.server->streams.contains(third));
    pair.server->submit_trailers_only(first, kAnswer);
    pair.go_on();
    CHECK(pair.server->streams.at(third).body == framed("3"));
}

TEST(what_is_no_http2_ends_the_connection) {
    for (const std::string& bytes : {std::string("GET / HTTP/1.1\r\nhost: here\r\n\r\n"), std::string(100, '\0')}) {
        int both[2];
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both) == 0);
        End server(Http2::Side::server, both[0], {});
        const auto other = plain_transport(both[1]);
        const iovec piece = {const_cast<char*>(bytes.data()), bytes.size()};
        CHECK(other->write({&piece, 1}).bytes == bytes.size());
        CHECK(!server.read(1 << 20) && server.failed() && !server.flush());
        CHECK(server.failure().starts_with("the other end does not speak HTTP/2: "));
        CHECK(!server.wants_to_read() && !server.wants_to_write());
    }
}

TEST(an_end_that_closes_is_no_failure_of_words) {
    Pair pair;
    pair.go_on();
    pair.client.reset();
    CHECK(!pair.server->read(1 << 20) && pair.server->failed() && pair.server->failure().empty());
}
