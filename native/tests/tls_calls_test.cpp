// Calls from our client to our server, with TLS, certificates and tokens.
#include <cstring>
#include <string>

#include "certified.hpp"
#include "grpc/client_connection.hpp"
#include "grpc/connect.hpp"
#include "grpc/guard.hpp"
#include "grpc/server.hpp"
#include "grpc/wait.hpp"

using namespace certified;
using namespace persia::grpc;
using namespace std::chrono_literals;

namespace {

const std::string kToken = "0123456789abcdef", kOther = "fedcba9876543210";

std::string text_of(const ReceivedMessage& message) {
    return {reinterpret_cast<const char*>(message.bytes().data()), message.size()};
}

// Answers with the identity of who calls, and what it has sent.
class Echo final : public Method {
  public:
    void on_message(const ServerCallPtr& call, ReceivedMessage message) override {
        call->reply(OutgoingMessage(call->info().identity + "|" + text_of(message)));
    }
};

struct Served {
    explicit Served(bool with_tokens = true, bool needs_certificate = true) {
        const std::string tokens = folder.write("tokens", "trainer:" + kToken + "\n");
        files = files_of(folder, "server", authority.server({"first", "127.0.0.1"}), needs_certificate ? ca : "");
        tls = TlsContext::for_server(files);
        guard = guard_of(with_tokens ? tokens : "", needs_certificate);
        server = std::make_unique<Server>(ServerLimits{}, guard, tls);
        server->add("/test.Echo/Echo", std::make_shared<Echo>());
        address = server->listen("127.0.0.1:0");
        local = server->listen("unix:" + folder.at("socket"));
        server->start();
    }

    std::unique_ptr<ClientConnection> connect(TlsContext* by) const { return connect_to(address, by); }
    std::unique_ptr<ClientConnection> connect_to(const std::string& where, TlsContext* by) const {
        return std::make_unique<ClientConnection>(persia::grpc::connect(where, by, host_of(where)), host_of(where));
    }

    Folder folder;
    Authority authority;
    std::string ca = folder.write("ca.pem", authority.made.certificate);
    TlsFiles files;
    std::shared_ptr<TlsContext> tls;
    std::shared_ptr<Guard> guard;
    std::shared_ptr<TlsContext> client = TlsContext::for_client(files_of(folder, "client", authority.client("scorer"), ca));
    std::shared_ptr<TlsContext> nameless = TlsContext::for_client({"", "", ca});
    std::unique_ptr<Server> server;
    std::string address, local;
};

Reply ask(ClientConnection& connection, const std::string& text, const std::string& token = kToken) {
    const auto end = Clock::now() + 60s;
    connection.begin({.path = "/test.Echo/Echo", .message = OutgoingMessage(text), .token = token, .deadline = end});
    ClientConnection* const all[] = {&connection};
    while (!connection.has_ended()) wait_any(all, end);
    return connection.take();
}

std::string answer(ClientConnection& connection, const std::string& text, const std::string& token = kToken) {
    const Reply reply = ask(connection, text, token);
    return reply.status.ok() ? text_of(reply.message) : reply.status.message;
}

}  // namespace

TEST(a_call_needs_both_where_both_are_asked_for) {
    const Served served;
    const auto connection = served.connect(served.client.get());
    CHECK(answer(*connection, "hello") == "trainer|hello");
    for (const std::string& wrong : {std::string(), kOther, kToken + "0"}) {
        const Reply reply = ask(*connection, "hello", wrong);
        CHECK(reply.status.code == Code::unauthenticated && reply.is_servers_word);
        CHECK(has(reply.status.message, wrong.empty() ? "a certificate, and no token: this server asks for a token, too"
                                                      : "a certificate, and no token that this server knows: this server"));
    }
    CHECK(answer(*connection, "hello again") == "trainer|hello again");
    const auto stranger = served.connect(served.nameless.get());
    const Reply reply = ask(*stranger, "hello");
    CHECK(reply.status.code == Code::unavailable && stranger->state() == ClientConnection::State::failed);
    CHECK(has(reply.status.message, "it asks for a certificate, and this client has shown none"));
}

TEST(a_certificate_is_an_identity) {
    const Served served(false);
    CHECK(answer(*served.connect(served.client.get()), "hello", "") == "scorer|hello");
}

TEST(a_token_is_enough_without_a_client_ca) {
    const Served served(true, false);
    CHECK(answer(*served.connect(served.nameless.get()), "hello") == "trainer|hello");
    CHECK(ask(*served.connect(served.nameless.get()), "hello", kOther).status.code == Code::unauthenticated);
}

TEST(plain_text_is_not_understood) {
    const Served served;
    const auto connection = served.connect(nullptr);
    CHECK(ask(*connection, "hello").status.code == Code::unavailable);
}

TEST(a_unix_socket_is_plain_and_its_user_known) {
    const Served both, by_certificate(false);
    const auto connection = both.connect_to(both.local, both.client.get());
    CHECK(answer(*connection, "hello") == "trainer|hello");
    CHECK(ask(*connection, "hello", "").status.code == Code::unauthenticated);
    const auto other = by_certificate.connect_to(by_certificate.local, nullptr);
    CHECK(answer(*other, "hello", "") == "user " + std::to_string(::geteuid()) + "|hello");
}

TEST(large_messages_travel_both_ways) {
    const Served served;
    const auto connection = served.connect(served.client.get());
    for (const std::size_t size : {0, 1, 16'384, 16'385, 131'072, 1'000'000, 20'000'000}) {
        std::string text(size, '\0');
        for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31 % 251);
        CHECK(answer(*connection, text) == "trainer|" + text);
    }
}

TEST(a_handshake_waits_for_the_other_end_and_not_for_the_socket) {
    const Served served;
    const auto [ours, theirs] = sockets();
    ClientConnection connection(served.client->connect(theirs, "localhost"), "localhost");
    connection.begin({.path = "/test.Echo/Echo", .message = OutgoingMessage(std::string("hello"))});
    CHECK(connection.state() == ClientConnection::State::pending);
    CHECK(connection.wants_to_read() && !connection.wants_to_write());
    ::close(ours);
}

TEST(certificates_and_tokens_change_under_a_connection) {
    const Served served;
    const auto connection = served.connect(served.client.get());
    CHECK(answer(*connection, "hello") == "trainer|hello");
    served.folder.write("tokens", "other:" + kOther);
    files_of(served.folder, "server", Authority("another CA").server({"127.0.0.1"}), "");
    CHECK(served.guard->refresh().empty() && served.tls->refresh().empty());
    CHECK(ask(*connection, "hello").status.code == Code::unauthenticated);
    CHECK(answer(*connection, "hello", kOther) == "other|hello");
    CHECK(has(ask(*served.connect(served.client.get()), "hello", kOther).status.message, "is not signed by the CA of"));
}
