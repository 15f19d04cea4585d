// Waiting for several calls at once: until one of them has its reply, and no longer.
#include "grpc/wait.hpp"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>
#include <vector>

#include "check.hpp"
#include "http2_peer.hpp"

using namespace persia::grpc;
using namespace std::chrono_literals;

namespace {

using State = ClientConnection::State;
using Connections = std::vector<ClientConnection*>;

constexpr Clock::duration kForever = Clock::duration::max();
const unsigned kWatch = alarm(300);  // who does wait for ever is ended

Clock::time_point in(Clock::duration time) { return Clock::now() + time; }
constexpr Clock::time_point kNever = Clock::time_point::max();

// A call that waits for its reply.
struct Asking : Client {
    Asking() { ask(); }
    void answer() {
        peer.answer(1, framed("answer"));
        peer.go_on();
    }
    State state() const { return connection.state(); }
};

// Signals of which nothing comes but that they interrupt. To be destroyed after the threads that get them.
struct Signals {
    Signals() {
        heard = 0;
        struct sigaction action{};
        action.sa_handler = [](int) { ++heard; };
        sigaction(SIGUSR1, &action, &before);
    }
    ~Signals() { sigaction(SIGUSR1, &before, nullptr); }

    static void send(std::thread& thread) { pthread_kill(thread.native_handle(), SIGUSR1); }

    static inline std::atomic<int> heard = 0;
    struct sigaction before{};
};

// Takes all that comes, and gives it out in small pieces: as one does that takes whole records.
class Hoarding final : public Transport {
  public:
    explicit Hoarding(int socket) : plain_(plain_transport(socket)) {}

    Result read(std::span<const iovec> into) override {
        char room[1 << 16];
        const iovec all{room, sizeof(room)};
        const Result result = plain_->read({&all, 1});
        kept_.append(room, result.bytes);
        if (kept_.empty()) return result;
        const std::size_t size = std::min({kept_.size(), into[0].iov_len, std::size_t{7}});
        std::memcpy(into[0].iov_base, kept_.data(), size);
        kept_.erase(0, size);
        return {Outcome::some, size};
    }
    Result write(std::span<const iovec> from) override { return plain_->write(from); }
    bool has_buffered() const override { return !kept_.empty(); }
    void shut_down() noexcept override { plain_->shut_down(); }
    int socket() const override { return plain_->socket(); }
    std::string error() const override { return plain_->error(); }

  private:
    std::unique_ptr<Transport> plain_;
    std::string kept_;
};

template <class Condition>
void wait_until(Condition condition) {
    while (!condition()) std::this_thread::yield();
}

}  // namespace

TEST(the_first_reply_ends_it) {
    for (const bool second : {false, true}) {
        Asking one, two;
        Asking &fast = second ? two : one, &slow = second ? one : two;
        std::thread peer([&] { fast.answer(); });
        wait_any(Connections{&one.connection, &two.connection}, kNever);
        peer.join();
        CHECK(fast.state() == State::complete && slow.state() == State::pending);
        slow.answer();
        wait_any(Connections{&one.connection, &two.connection}, kNever);  // at once, for one has ended before
        CHECK(slow.state() == State::pending);
        wait_any(Connections{&slow.connection}, kNever);
        CHECK(slow.state() == State::complete);
    }
}

TEST(all_go_on_while_any_is_waited_for) {
    Asking one, two;
    std::thread peer([&] {
        one.peer.answer(1, framed("answer"));
        const std::string bytes = one.peer.bytes();
        for (const char& byte : bytes) {
            one.peer.send({&byte, 1});
            two.peer.send({&byte, 1});
        }
    });
    for (Asking* asking : {&one, &two}) {
        wait_any(Connections{&asking->connection}, kNever);
        CHECK(text_of(asking->connection.take().message.bytes()) == "answer");
    }
    peer.join();
}

TEST(who_spins_gets_what_who_sleeps_gets) {
    for (const Clock::duration spin_for : {Clock::duration::zero(), Clock::duration(1us), kForever}) {
        Asking one, two;
        std::thread peer([&] { two.answer(); });
        wait_any(Connections{&one.connection, &two.connection}, kNever, spin_for);
        peer.join();
        CHECK(one.state() == State::pending && two.state() == State::complete);
        one.peer.hang_up();
        wait_any(Connections{&one.connection}, kNever, spin_for);
        CHECK(one.state() == State::failed);
    }
}

TEST(it_ends_when_its_time_is_over) {
    Asking one;
    Client idle;
    for (const Clock::duration spin_for : {Clock::duration::zero(), kForever}) {
        for (const Clock::duration time : {0ms, 2ms, -1000ms}) wait_any(Connections{&one.connection}, in(time), spin_for);
        wait_any({}, in(1ms), spin_for);
        wait_any(Connections{&idle.connection}, in(1ms), spin_for);
    }
    CHECK(one.state() == State::pending && idle.connection.state() == State::idle);
    one.answer();
    wait_any(Connections{&one.connection}, in(0ms));  // what is there is taken in no time
    CHECK(one.state() == State::complete);
}

TEST(more_calls_than_few_are_waited_for) {
    std::vector<std::unique_ptr<Asking>> many;
    Connections connections;
    for (int i = 0; i < 40; ++i) {
        many.push_back(std::make_unique<Asking>());
        connections.push_back(&many.back()->connection);
    }
    std::thread peer([&] { many[37]->answer(); });
    wait_any(connections, kNever);
    peer.join();
    CHECK(many[37]->state() == State::complete);
}

TEST(what_the_socket_does_not_tell_of_is_read_as_well) {
    Http2Peer peer;
    ClientConnection connection(std::make_unique<Hoarding>(peer.theirs()), "here");
    connection.begin({.path = kPath, .message = OutgoingMessage(std::string("question"))});
    peer.receive();
    peer.answer(1, framed(some_text(1000)));
    peer.go_on();
    wait_any(Connections{&connection}, kNever);
    CHECK(connection.state() == State::complete);
    CHECK(text_of(connection.take().message.bytes()) == some_text(1000));
}

TEST(questions_larger_than_their_sockets_are_sent_side_by_side) {
    const std::string question = some_text(3'000'000);
    Client clients[3];
    Connections connections;
    for (Client& client : clients) {
        client.ask(question);
        connections.push_back(&client.connection);
    }
    // None answers before all have come: who sends one after the other would not get on.
    std::thread peer([&] {
        wait_until([&] {
            for (Client& client : clients) client.peer.go_on();
            return std::ranges::all_of(clients, [](Client& client) { return client.peer.streams[1].ended; });
        });
        for (Client& client : clients) client.peer.answer(1, framed("answer"));
        for (Client& client : clients) client.peer.go_on();
    });
    while (!connections.empty()) {
        wait_any(connections, kNever);
        std::erase_if(connections, [](const ClientConnection* connection) { return connection->has_ended(); });
    }
    peer.join();
    for (Client& client : clients) CHECK(client.connection.state() == State::complete);
}

TEST(a_signal_ends_the_sleep) {
    const Signals signals;
    SpinPolicy policy(true);
    policy.begin_wait();  // somebody else waits, so it sleeps
    Asking one;
    std::atomic<bool> done{false};
    std::thread waiting([&] {
        wait_any(Connections{&one.connection}, kNever, kForever, Wanted::any, policy);
        done = true;
    });
    wait_until([&] {
        if (!done) Signals::send(waiting);
        return done.load();
    });
    waiting.join();
    CHECK(one.state() == State::pending);
}

TEST(a_signal_does_not_end_it_while_it_spins) {
    const Signals signals;
    SpinPolicy policy(true);
    Asking one;
    std::atomic<bool> done{false};
    std::thread waiting([&] {
        wait_any(Connections{&one.connection}, kNever, kForever, Wanted::any, policy);
        done = true;
    });
    for (int i = 1; i <= 100 && !done; ++i) {
        Signals::send(waiting);
        wait_until([&] { return Signals::heard >= i || done; });
    }
    CHECK(!done);
    one.answer();
    waiting.join();
    CHECK(one.state() == State::complete);
}

TEST(the_policy_learns_from_each_answer_once_and_from_waiting_in_vain) {
    SpinPolicy policy(true);
    Asking one, two;
    one.answer();
    wait_any(Connections{&one.connection, &two.connection}, kNever, kForever, Wanted::any, policy);
    const Clock::duration learned = policy.typical();
    CHECK(learned > Clock::duration::zero());
    wait_any(Connections{&one.connection, &two.connection}, kNever, kForever, Wanted::any, policy);  // one has ended before
    CHECK(policy.typical() == learned);
    SpinPolicy other(true);
    wait_any(Connections{&two.connection}, in(1ms), kForever, Wanted::any, other);
    CHECK(other.typical() > Clock::duration::zero());
    // The wait is over for it, too.
    other.begin_wait();
    CHECK(other.should_spin(Clock::now(), kNever, 1h, Clock::now()));
}

TEST(the_policy_learns_nothing_from_who_sleeps) {
    SpinPolicy policy(true);
    Asking one, two;
    one.answer();
    wait_any(Connections{&one.connection, &two.connection}, kNever, {}, Wanted::any, policy);
    wait_any(Connections{&two.connection}, in(1ms), {}, Wanted::any, policy);
    CHECK(policy.typical() == Clock::duration::zero());
}
