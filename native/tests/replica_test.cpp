// What is known of a server, the connections to it, and calls of those who look after it.
#include "routing/replica.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.hpp"
#include "check.hpp"
#include "grpc_service.hpp"

using namespace persia;
using namespace persia::routing;
using grpc::Code;
using Update = Replica::Update;

namespace {

const unsigned kWatch = alarm(300);
const Health kWell{.ready = true, .state = "serving"};

// Takes connections, as a system does for a server that hangs, and says nothing.
struct Silent {
    Silent() {
        sockaddr_in any{};
        any.sin_family = AF_INET;
        any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof(any);
        bind(socket, reinterpret_cast<const sockaddr*>(&any), size);
        listen(socket, 10);
        getsockname(socket, reinterpret_cast<sockaddr*>(&any), &size);
        address = "127.0.0.1:" + std::to_string(ntohs(any.sin_port));
    }
    ~Silent() { close(socket); }

    int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    std::string address;
};

grpc::Reply call(Replica& replica, double seconds = 60) {
    return replica.call(kPath, grpc::OutgoingMessage(std::string("x")), seconds);
}

struct OneToken final : grpc::TokenSource {
    std::string token() const override { return "secret"; }
};

struct ShowsToken final : grpc::Method {
    void on_message(const grpc::ServerCallPtr& call, grpc::ReceivedMessage) override {
        const std::string* shown = grpc::find(call->info().metadata, "authorization");
        call->reply(grpc::OutgoingMessage(shown != nullptr ? *shown : std::string("none")));
    }
};

}  // namespace

TEST(a_replica_is_usable_while_it_is_well_and_not_excluded) {
    Replica replica({.address = "127.0.0.1:1"});
    CHECK(!replica.usable() && replica.why_unusable() == "not reached yet");
    CHECK(replica.set_health(0, kWell) == Update::changed && replica.usable());
    CHECK(replica.set_health(0, kWell) == Update::same);
    Health other = kWell;
    other.checkpoint_id = 7;
    CHECK(replica.set_health(0, other) == Update::changed && replica.usable() && replica.health().checkpoint_id == 7);
    replica.exclude("another checkpoint");
    CHECK(!replica.usable() && replica.well() && replica.why_unusable() == "another checkpoint");
    replica.exclude("");
    CHECK(replica.usable());
    other.refused = "expected shard 0 of 2, got shard 1 of 2";
    CHECK(replica.set_health(0, other) == Update::changed && !replica.usable() && replica.why_unusable() == other.refused);
}

TEST(what_a_server_said_before_it_failed_does_not_count) {
    Replica replica({.address = "127.0.0.1:1"});
    replica.set_health(0, kWell);
    const Clock::time_point before = Clock::now();
    replica.suspect(0, "Connection reset by peer");
    CHECK(replica.generation() == 1 && !replica.usable() && replica.why_unusable() == "Connection reset by peer");
    CHECK(replica.unusable_since() >= before);
    CHECK(replica.set_health(0, kWell) == Update::outdated && !replica.usable());
    CHECK(replica.set_health(1, kWell) == Update::changed && replica.usable());
    replica.suspect(0, "what was known already");
    CHECK(replica.generation() == 1 && replica.usable());
}

TEST(who_waits_for_a_change_is_woken_by_it) {
    Replica replica({.address = "127.0.0.1:1"});
    CHECK(!replica.wait_for_change(0, 0.001));
    std::thread waiting([&] { CHECK(replica.wait_for_change(0, 1e9)); });
    replica.suspect(0, "gone");
    waiting.join();
    CHECK(replica.wait_for_change(0, 1e9) && !replica.wait_for_change(1, -1));
    std::thread until_closed([&] { CHECK(replica.wait_for_change(1, 1e9)); });
    replica.close();
    until_closed.join();
    CHECK(replica.closed() && replica.set_health(replica.generation(), kWell) == Update::outdated);
}

TEST(connections_wait_for_work_the_last_one_first) {
    Service service;
    Replica& replica = *service.replica;
    std::vector<Replica::Taken> taken;
    for (std::size_t i = 0; i < Replica::kMaxIdle + 5; ++i) {
        taken.push_back(replica.take_connection());
        CHECK(taken.back().connection && taken.back().failure.empty());
    }
    for (Replica::Taken& one : taken) {
        const grpc::ClientConnection* last = one.connection.get();
        replica.give_back(one.generation, std::move(one.connection));
        Replica::Taken again = replica.take_connection();
        CHECK(again.connection.get() == last);
        replica.give_back(again.generation, std::move(again.connection));
    }
    CHECK(replica.idle_connections() == Replica::kMaxIdle);
    Replica::Taken old = replica.take_connection();
    replica.suspect(0, "gone");
    CHECK(replica.idle_connections() == 0);
    replica.give_back(old.generation, std::move(old.connection));
    CHECK(replica.idle_connections() == 0);
    Replica::Taken late = replica.take_connection();
    replica.close();
    replica.give_back(late.generation, std::move(late.connection));
    CHECK(replica.idle_connections() == 0);
}

TEST(an_address_that_cannot_be_connected_to_says_why) {
    for (const char* address : {"unix:/nowhere/at/all", "localhost:1", "127.0.0.1", "unix:", "127.0.0.1:x"}) {
        Replica replica({.address = address});
        const Replica::Taken taken = replica.take_connection();
        CHECK(!taken.connection && !taken.failure.empty());
        CHECK(call(replica).status.code == Code::unavailable);
    }
}

TEST(a_server_is_called_whatever_its_health) {
    Service service;
    service.replica->suspect(0, "gone");
    for (int i = 0; i < 2; ++i) {
        const grpc::Reply reply = call(*service.replica);
        CHECK(reply.status.ok() && text_of(reply.message.bytes()) == "answer to x");
    }
    CHECK(!service.replica->usable() && service.replica->generation() == 1 && service.replica->idle_connections() == 1);
    service.answers->mood = Answers::Mood::refuse;
    CHECK(call(*service.replica).status.code == Code::invalid_argument);
    service.stop();
    CHECK(call(*service.replica).status.code == Code::unavailable);
}

TEST(a_server_that_hangs_is_told_from_one_that_is_gone) {
    Silent hangs;
    Replica busy({.address = hangs.address});
    CHECK(call(busy, 0.05).status.code == Code::deadline_exceeded);
    Replica gone({.address = "127.0.0.1:1"});
    CHECK(call(gone).status.code == Code::unavailable);
    Replica ipv6({.address = "[::1]:1"});
    CHECK(call(ipv6).status.code == Code::unavailable);
}

TEST(a_token_is_shown_with_each_call) {
    grpc::Server server({}, nullptr, nullptr);
    server.add(kPath, std::make_shared<ShowsToken>());
    const std::string address = server.listen("127.0.0.1:0");
    server.start();
    for (const bool shown : {false, true}) {
        Target target{.address = address};
        if (shown) target.token = std::make_shared<OneToken>();
        Replica replica(target);
        CHECK(text_of(call(replica).message.bytes()) == (shown ? "Bearer secret" : "none"));
    }
}
