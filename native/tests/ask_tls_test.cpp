// Calls over encrypted connections.
#include <unistd.h>

#include "certified.hpp"
#include "check.hpp"
#include "grpc/connect.hpp"
#include "grpc_service.hpp"
#include "routing/ask.hpp"

using namespace persia;
using namespace persia::routing;
using certified::Authority;
using certified::Folder;
using grpc::Code;
using grpc::TlsContext;

namespace {

const unsigned kWatch = alarm(300);  // who waits for ever is ended

// A server that asks for certificates, and what clients have.
struct Encrypted {
    Encrypted() {
        const std::string ca = folder.write("ca.pem", authority.made.certificate);
        const auto server_files = certified::files_of(folder, "server", authority.server({"ps.example"}), ca);
        client_files = certified::files_of(folder, "client", authority.client("router"), ca);
        server = std::make_unique<grpc::Server>(grpc::ServerLimits(), nullptr, TlsContext::for_server(server_files));
        server->add(kPath, answers);
        address = server->listen("127.0.0.1:0");
        server->start();
    }

    std::shared_ptr<Replica> replica(const std::string& host, const grpc::TlsFiles& files) const {
        auto made = std::make_shared<Replica>(Target{.address = address, .host = host, .tls = TlsContext::for_client(files)});
        made->set_health(0, {.ready = true, .state = "serving"});
        return made;
    }

    Folder folder;
    Authority authority;
    grpc::TlsFiles client_files;
    std::shared_ptr<Answers> answers = std::make_shared<Answers>();
    std::unique_ptr<grpc::Server> server;
    std::string address;
};

grpc::Reply call(Replica& replica, const std::string& question) {
    return replica.call(kPath, grpc::OutgoingMessage(question), 60);
}

}  // namespace

TEST(calls_of_all_sizes_are_answered) {
    Encrypted service;
    const auto replica = service.replica("ps.example", service.client_files);
    for (const std::size_t size : {0u, 1u, 1000u, 100'000u, 10'000'000u}) {
        const std::string question(size, 'q');
        const grpc::Reply reply = call(*replica, question);
        CHECK(reply.status.ok() && text_of(reply.message.bytes()) == "answer to " + question);
    }
    CHECK(service.server->counts().accepted == 1);
}

TEST(threads_that_spin_and_those_that_sleep_get_the_same) {
    Encrypted service;
    const auto set =
        std::make_shared<ReplicaSet>("shard 0 of 1", ReplicaSet::Replicas{service.replica("ps.example", service.client_files)});
    for (const Clock::duration spin_for : {0s, 60s}) {
        std::vector<Call> calls;
        for (int i = 0; i < 4; ++i) {
            calls.emplace_back(set, kPath, grpc::OutgoingMessage(std::string(300'000, 'q')), [](auto) { return ""; });
        }
        Asking asking(std::move(calls), Clock::now() + 60s, {.hedge_after = 60s, .spin_for = spin_for});
        asking.finish();
        for (Call& call : asking.calls()) CHECK(call.has_answer() && call.answer().size() == 300'010);
    }
}

TEST(a_server_whose_certificate_is_for_another_host_is_not_asked) {
    Encrypted service;
    const grpc::Reply reply = call(*service.replica("elsewhere.example", service.client_files), "x");
    CHECK(reply.status.code == Code::unavailable && service.answers->asked == 0);
    CHECK(certified::has(reply.status.message, "certificate"));
}

TEST(a_client_without_a_certificate_gets_nothing) {
    Encrypted service;
    const grpc::Reply reply = call(*service.replica("ps.example", {"", "", service.client_files.ca}), "x");
    CHECK(reply.status.code == Code::unavailable && service.answers->asked == 0);
}

TEST(a_client_that_waits_for_a_handshake_waits_to_read) {
    Encrypted service;
    const auto [ours, theirs] = certified::sockets();
    const auto tls = TlsContext::for_client(service.client_files);
    grpc::ClientConnection connection(tls->connect(ours, "ps.example"), "ps.example", {}, true);
    connection.begin({.path = kPath, .message = grpc::OutgoingMessage(std::string("x"))});
    connection.advance();
    CHECK(connection.wants_to_read() && !connection.wants_to_write());  // or it would not sleep
    close(theirs);
    connection.advance();
    CHECK(connection.state() == grpc::ClientConnection::State::failed);
}
