// Encrypted connections: who is let in, what the bytes become, and what is said of those that fail.
#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "certified.hpp"

using namespace certified;
using Outcome = Transport::Outcome;

namespace {

// A server and a client that know each other.
struct Pair {
    Folder folder;
    Authority authority;
    std::string ca = folder.write("ca.pem", authority.made.certificate);
    std::shared_ptr<TlsContext> server = TlsContext::for_server(
        files_of(folder, "server", authority.server({"localhost", "*.persia.test", "127.0.0.1", "::1"}), ca));
    std::shared_ptr<TlsContext> client = TlsContext::for_client(files_of(folder, "client", authority.client("trainer"), ca));

    std::shared_ptr<TlsContext> nameless() { return TlsContext::for_client({"", "", ca}); }
    std::shared_ptr<TlsContext> for_everybody() {
        return TlsContext::for_server(files_of(folder, "server", authority.server({"localhost"}), ""));
    }
};

}  // namespace

TEST(both_ends_know_each_other) {
    Pair pair;
    Ends ends = connected(*pair.server, *pair.client);
    CHECK(ends.server->is_open() && ends.client->is_open());
    CHECK(ends.server->peer_name() == "trainer");
    CHECK(ends.client->peer_name() == "localhost");
    CHECK(write_text(*ends.client, "hello").bytes == 5);
    CHECK(read_text(*ends.server) == "hello");
    CHECK(write_text(*ends.server, "hello to you").bytes == 12);
    CHECK(read_text(*ends.client) == "hello to you");
    std::string nothing;
    CHECK(read_some(*ends.client, nothing).outcome == Outcome::none);
    CHECK(!ends.client->wants_to_write() && !ends.server->wants_to_write());
}

TEST(nothing_is_open_before_the_handshake_is_done) {
    Pair pair;
    const auto [ours, theirs] = sockets();
    Ends ends{pair.server->accept(ours), pair.client->connect(theirs, "localhost")};
    CHECK(!ends.client->is_open() && !ends.server->is_open());
    CHECK(ends.client->wants_to_write() && !ends.server->wants_to_write());  // its first words
    CHECK(write_text(*ends.client, "early").outcome == Outcome::none);
    CHECK(!ends.client->wants_to_write() && ends.client->peer_name().empty());
    shake_hands(ends);
    CHECK(ends.client->is_open() && ends.server->is_open());
}

TEST(a_server_without_a_client_ca_takes_everybody) {
    Pair pair;
    Ends ends = connected(*pair.for_everybody(), *pair.nameless());
    CHECK(ends.server->is_open() && ends.client->is_open());
    CHECK(ends.server->peer_name().empty());
}

TEST(a_client_without_a_certificate_is_refused_and_told_why) {
    Pair pair;
    Ends ends = connected(*pair.server, *pair.nameless());
    CHECK(go_on(*ends.server) == Outcome::failed);
    CHECK(
        has(ends.server->error(), "the client has shown no certificate, and needs one that is signed by the CA of " + pair.ca));
    std::string nothing;
    CHECK(read_some(*ends.client, nothing).outcome == Outcome::failed);
    CHECK(has(ends.client->error(), "it asks for a certificate, and this client has shown none"));
    CHECK(ends.server->peer_name().empty());
}

TEST(a_refused_client_is_told_why_although_it_has_sent_more_by_then) {
    Pair pair;
    const auto nameless = pair.nameless();
    const auto [ours, theirs] = sockets();
    Ends ends{pair.server->accept(ours), nameless->connect(theirs, "localhost")};
    while (!ends.client->is_open()) {
        go_on(*ends.client);
        if (!ends.client->is_open()) go_on(*ends.server);
    }
    CHECK(write_text(*ends.client, std::string(20'000, 'x')).bytes == 20'000);
    CHECK(go_on(*ends.server) == Outcome::failed);
    ends.server.reset();
    CHECK(write_text(*ends.client, std::string(20'000, 'x')).outcome == Outcome::failed);
    CHECK(has(ends.client->error(), "it asks for a certificate, and this client has shown none"));
}

TEST(a_certificate_of_another_ca_is_refused) {
    Pair pair;
    const Authority other("another CA");
    const auto stranger = TlsContext::for_client(files_of(pair.folder, "stranger", other.client("trainer"), pair.ca));
    Ends ends = connected(*pair.server, *stranger);
    CHECK(has(ends.server->error(), "the client's certificate (`trainer`) is not signed by the CA of " + pair.ca));
    CHECK(has(ends.server->error(), "but by `another CA`"));
    std::string nothing;
    CHECK(read_some(*ends.client, nothing).outcome == Outcome::failed);
    CHECK(has(ends.client->error(), "this client's certificate is not signed by a CA that it trusts"));

    const auto impostor = TlsContext::for_server(files_of(pair.folder, "impostor", other.server({"localhost"}), ""));
    ends = connected(*impostor, *pair.client);
    CHECK(has(ends.client->error(), "the server's certificate (`localhost`) is not signed by the CA of " + pair.ca));
    CHECK(go_on(*ends.server) == Outcome::failed);
    CHECK(has(ends.server->error(), "this server's certificate is not signed by a CA that it trusts"));
}

TEST(a_client_without_a_ca_has_those_of_the_system) {
    Pair pair;
    const auto trusting_the_system = TlsContext::for_client({});
    Ends ends = connected(*pair.for_everybody(), *trusting_the_system);
    CHECK(has(ends.client->error(), "is not signed by one of the system's CAs, but by `test CA`"));
}

TEST(a_server_s_own_certificate_can_be_all_that_is_trusted) {
    Pair pair;
    const auto server = pair.for_everybody();
    Ends ends = connected(*server, *TlsContext::for_client({"", "", pair.folder.at("server.pem")}));
    CHECK(ends.client->is_open());
    files_of(pair.folder, "other", pair.authority.server({"localhost"}), "");
    ends = connected(*server, *TlsContext::for_client({"", "", pair.folder.at("other.pem")}));
    CHECK(has(ends.client->error(), "is not signed by the CA of"));
}

TEST(a_client_asks_for_the_host_that_it_calls) {
    Pair pair;
    for (const char* host : {"localhost", "a.persia.test", "127.0.0.1", "::1"}) {
        CHECK(connected(*pair.server, *pair.client, host).client->is_open());
    }
    for (const char* host : {"example.com", "a.b.persia.test", "127.0.0.2", "::2", "ocalhost"}) {
        Ends ends = connected(*pair.server, *pair.client, host);
        CHECK(!ends.client->is_open());
        CHECK(has(ends.client->error(),
                  "the server's certificate (`localhost`) is for `localhost`, `*.persia.test`, `127.0.0.1`, "
                  "`::1`, not for `" +
                      std::string(host) + "`"));
    }
}

TEST(a_client_s_certificate_is_none_of_a_server) {
    Pair pair;
    const auto server = TlsContext::for_server(files_of(pair.folder, "wrong", pair.authority.client("localhost"), ""));
    Ends ends = connected(*server, *pair.client);
    CHECK(has(ends.client->error(), "the server's certificate (`localhost`) is not one of a server"));
}

TEST(a_certificate_that_ends_ends_the_identity_of_a_connection) {
    Folder folder;
    const Authority authority;
    const std::string ca = folder.write("ca.pem", authority.made.certificate);
    const auto server = TlsContext::for_server(files_of(folder, "server", authority.server({"localhost"}), ca));
    Ends ends;
    for (std::int64_t seconds = 1; !ends.server || ends.server->peer_name().empty(); ++seconds) {
        const std::int64_t now = std::time(nullptr);
        const Certified brief = authority.client("brief", {now - kHour, now + seconds});
        try {
            ends = connected(*server, *TlsContext::for_client(files_of(folder, "client", brief, ca)));
        } catch (const persia::InvalidInput&) {
            continue;  // it has ended already: the machine is busy
        }
    }
    CHECK(ends.server->peer_name() == "brief");
    while (!ends.server->peer_name().empty()) {
    }
    CHECK(ends.server->is_open());
    CHECK(write_text(*ends.client, "still here").bytes == 10);
    CHECK(read_text(*ends.server) == "still here");
}

TEST(large_messages_arrive_whole_in_whatever_pieces) {
    Pair pair;
    Ends ends = connected(*pair.server, *pair.client);
    std::mt19937_64 random(17);
    std::string sent(3'000'000, '\0');
    std::generate(sent.begin(), sent.end(), [&] { return static_cast<char>(random()); });
    std::string received;
    std::size_t taken = 0;
    bool has_waited = false;
    while (received.size() < sent.size()) {
        std::vector<iovec> pieces;
        for (std::size_t at = taken; at < sent.size() && pieces.size() < 20;) {
            // Heads of frames, and what they carry.
            const std::size_t most = random() % 2 == 0 ? 40 : 70'000;
            const std::size_t size = std::min<std::size_t>(random() % most, sent.size() - at);
            pieces.push_back({sent.data() + at, size});
            at += size;
        }
        std::size_t offered = 0;
        for (const iovec& piece : pieces) offered += piece.iov_len;
        if (taken + offered < sent.size()) {  // so that what is encrypted already is there again
            pieces.push_back({sent.data() + taken + offered, std::min<std::size_t>(sent.size() - taken - offered, 200'000)});
        }
        const Transport::Result result = ends.client->write(pieces);
        CHECK(result.outcome == Outcome::some || result.outcome == Outcome::none);
        taken += result.bytes;
        if (result.outcome == Outcome::some && taken < sent.size()) continue;
        if (result.outcome == Outcome::none) has_waited = has_waited || ends.client->wants_to_write();
        while (read_some(*ends.server, received, 1 + random() % 100'000).outcome == Outcome::some) {
        }
    }
    CHECK(has_waited);
    CHECK(taken == sent.size());
    CHECK(received == sent);
}

TEST(what_is_decrypted_but_not_read_is_told_of) {
    Pair pair;
    Ends ends = connected(*pair.server, *pair.client);
    CHECK(!ends.server->has_buffered());
    write_text(*ends.client, std::string(100, 'a'));
    write_text(*ends.client, std::string(100, 'b'));
    std::string text;
    CHECK(read_some(*ends.server, text, 50).bytes == 50);
    CHECK(ends.server->has_buffered());
    CHECK(read_some(*ends.server, text, 120).bytes == 120);
    CHECK(ends.server->has_buffered());
    CHECK(read_some(*ends.server, text, 120).bytes == 30);
    CHECK(!ends.server->has_buffered());
    CHECK(text == std::string(100, 'a') + std::string(100, 'b'));
}

TEST(half_a_record_is_nothing_to_be_read) {
    Pair pair;
    const auto [ours, between] = sockets();
    const auto [theirs, beyond] = sockets();
    Ends ends{pair.server->accept(ours), pair.client->connect(theirs, "localhost")};
    const auto pass = [](int from, int to, std::size_t at_most) {
        std::string bytes(at_most, '\0');
        const ssize_t got = ::recv(from, bytes.data(), bytes.size(), 0);
        if (got > 0) CHECK(::send(to, bytes.data(), static_cast<std::size_t>(got), 0) == got);
        return got;
    };
    while (!ends.server->is_open() || !ends.client->is_open()) {
        go_on(*ends.client);
        pass(beyond, between, 1);
        go_on(*ends.server);
        pass(between, beyond, 1);
    }
    write_text(*ends.client, "split in two");
    CHECK(pass(beyond, between, 20) == 20);
    std::string text;
    CHECK(read_some(*ends.server, text).outcome == Outcome::none);
    CHECK(!ends.server->has_buffered());
    CHECK(pass(beyond, between, 4096) > 0);
    CHECK(read_some(*ends.server, text).outcome == Outcome::some);
    CHECK(text == "split in two");
    ::close(between);
    ::close(beyond);
}

TEST(an_end_is_told_to_the_other_end) {
    Pair pair;
    Ends ends = connected(*pair.server, *pair.client);
    write_text(*ends.server, "last words");
    ends.server->shut_down();
    std::string text;
    CHECK(read_some(*ends.client, text).outcome == Outcome::some);
    CHECK(read_some(*ends.client, text).outcome == Outcome::ended);
    CHECK(text == "last words");

    ends = connected(*pair.server, *pair.client);
    ends.client.reset();  // without a word of TLS
    CHECK(read_some(*ends.server, text).outcome == Outcome::ended);
}

TEST(a_connection_that_breaks_off_in_the_handshake_says_so) {
    Pair pair;
    const auto [ours, theirs] = sockets();
    const auto server = pair.server->accept(ours);
    ::close(theirs);
    CHECK(go_on(*server) == Outcome::failed);
    CHECK(has(server->error(), "the client has closed the connection before it was open"));
}

TEST(the_user_at_the_end_of_a_unix_socket_is_known_without_tls) {
    const auto [ours, theirs] = sockets();
    const auto server = persia::grpc::plain_transport(ours), client = persia::grpc::plain_transport(theirs);
    CHECK(server->peer_name() == "user " + std::to_string(::geteuid()));
    CHECK(persia::grpc::plain_transport(::socket(AF_INET, SOCK_STREAM, 0))->peer_name().empty());
}
