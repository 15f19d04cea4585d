// Threads that are told of sockets and times.
#include "net/reactor.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <atomic>
#include <condition_variable>

#include "check.hpp"

using persia::net::Clock;
using persia::net::Reactor;
using persia::net::Watched;

namespace {

// Waits until something has been told so often.
class Counter {
  public:
    void add() {
        const std::lock_guard lock(mutex_);
        ++count_;
        changed_.notify_all();
    }
    bool reaches(int wanted) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return count_ >= wanted; });
    }
    int count() const {
        const std::lock_guard lock(mutex_);
        return count_;
    }

  private:
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    int count_ = 0;
};

struct Pair {
    Pair() {
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
    }
    ~Pair() {
        close(ends[0]);
        close(ends[1]);
    }
    void write() const { CHECK(::write(ends[1], "x", 1) == 1); }
    int ends[2];
};

// Reads what comes, a byte each time it is told, and notices if two threads are told at once.
class Reader final : public Watched {
  public:
    Reader(Reactor& reactor, const Pair& pair) : reactor_(reactor), socket_(pair.ends[0]) {}
    int socket() const override { return socket_; }
    void on_ready(std::uint32_t) override {
        if (inside_.exchange(true)) together = true;
        char byte = 0;
        const auto got = ::read(socket_, &byte, 1);
        inside_ = false;
        if (got == 0) return ended.add();
        reactor_.wait_for(key, socket_, EPOLLIN | EPOLLRDHUP);
        if (got == 1) read.add();
    }

    std::atomic<Reactor::Key> key{0};
    std::atomic<bool> together{false};
    Counter read, ended;

  private:
    Reactor& reactor_;
    const int socket_;
    std::atomic<bool> inside_{false};
};

}  // namespace

TEST(a_socket_is_told_of_to_one_thread_at_a_time) {
    constexpr int kBytes = 2'000;
    const Pair pair;
    Reactor reactor;
    const auto reader = std::make_shared<Reader>(reactor, pair);
    reader->key = reactor.watch(reader);
    reactor.start(3);
    reactor.wait_for(reader->key, pair.ends[0], EPOLLIN);
    for (int i = 0; i < kBytes; ++i) pair.write();
    CHECK(reader->read.reaches(kBytes));
    CHECK(!reader->together);
    shutdown(pair.ends[1], SHUT_WR);
    CHECK(reader->ended.reaches(1));
}

TEST(who_does_not_wait_yet_is_not_told_of_the_end_of_its_connection) {
    const Pair ended, other;
    Reactor reactor;
    reactor.start(1);
    const auto first = std::make_shared<Reader>(reactor, ended);
    const auto second = std::make_shared<Reader>(reactor, other);
    shutdown(ended.ends[1], SHUT_RDWR);
    first->key = reactor.watch(first);
    second->key = reactor.watch(second);
    reactor.wait_for(second->key, other.ends[0], EPOLLIN);
    other.write();
    CHECK(second->read.reaches(1));  // the one thread would have told the first one before
    CHECK(first->ended.count() == 0);
    reactor.wait_for(first->key, ended.ends[0], EPOLLIN);
    CHECK(first->ended.reaches(1));
}

TEST(who_is_forgotten_is_not_told) {
    const Pair forgotten, other;
    Reactor reactor;
    const auto first = std::make_shared<Reader>(reactor, forgotten);
    const auto second = std::make_shared<Reader>(reactor, other);
    first->key = reactor.watch(first);
    second->key = reactor.watch(second);
    reactor.start(2);
    reactor.wait_for(first->key, forgotten.ends[0], EPOLLIN);
    reactor.wait_for(second->key, other.ends[0], EPOLLIN);
    reactor.forget(first->key);
    forgotten.write();
    other.write();
    CHECK(second->read.reaches(1));
    CHECK(first->read.count() == 0);
}

TEST(times_are_told_in_order) {
    Reactor reactor;
    reactor.start(1);
    std::vector<int> told;
    Counter all;
    const auto now = Clock::now();
    for (const int milliseconds : {30, 10, 20, 0}) {
        reactor.at(now + std::chrono::milliseconds(milliseconds), [&told, &all, milliseconds, now] {
            CHECK(Clock::now() >= now + std::chrono::milliseconds(milliseconds));
            told.push_back(milliseconds);
            all.add();
        });
    }
    CHECK(all.reaches(4));
    CHECK((told == std::vector<int>{0, 10, 20, 30}));
}

TEST(timers_are_made_while_others_are_told) {
    Reactor reactor;
    reactor.start(2);
    Counter told;
    std::function<void(int)> again = [&](int left) {
        told.add();
        if (left > 0) reactor.at(Clock::now(), [&again, left] { again(left - 1); });
    };
    for (int i = 0; i < 4; ++i) reactor.at(Clock::now(), [&again] { again(100); });
    CHECK(told.reaches(4 * 101));
    reactor.stop();
}
