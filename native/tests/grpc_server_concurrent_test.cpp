// Many connections and calls at once, with cancellations, deadlines and lost connections; and a server that stops while busy.
#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "check.hpp"
#include "served.hpp"

using namespace persia::grpc;

namespace {

constexpr int kThreads = 4, kRounds = 60;

// Everything that a client may do, some of it at once. Returns how many answers were wrong.
int live(const std::string& address, unsigned seed) {
    std::mt19937 random(seed);
    const auto below = [&](unsigned limit) { return static_cast<unsigned>(random() % limit); };
    int wrong = 0;
    for (int round = 0; round < kRounds; ++round) {
        Caller caller(address, 1 << 20);
        std::vector<std::pair<std::int32_t, std::string>> asked;
        for (unsigned i = 1 + below(8); i > 0; --i) {
            const std::string text = some_text(below(4) == 0 ? 100'000 + below(100'000) : below(100));
            const char* path = below(2) == 0 ? kEcho : kWork;
            asked.emplace_back(caller.call(path, framed(text)), text);
            if (below(4) == 0) caller.reset(caller.call(below(2) == 0 ? kHold : kWork, framed("nobody waits for it")));
            if (below(4) == 0) caller.call(kHold, framed("x"), {{"grpc-timeout", "1m"}});
            if (below(8) == 0) caller.call(kThrow, framed("memory"));
            if (below(2) == 0) caller.go_on();
        }
        if (below(4) == 0) continue;  // and hangs up
        const std::int32_t stream = caller.call(kStream, "", {}, false);
        std::string all;
        for (unsigned i = below(20); i > 0; --i) {
            const std::string message = framed(std::to_string(i));
            all += message;
            caller.send_more(stream, message, false);
            caller.go_on();
        }
        caller.send_more(stream, "", true);
        for (const auto& [call, text] : asked) {
            if (!caller.until_ended(call) || caller.streams[call].message() != text) ++wrong;
        }
        if (!caller.until_ended(stream) || caller.streams[stream].body != all) ++wrong;
    }
    return wrong;
}

std::ptrdiff_t answered_of(const Caller& caller) {
    return std::ranges::count_if(caller.streams, [](const auto& stream) { return stream.second.ended; });
}

}  // namespace

TEST(many_clients_do_everything_at_once) {
    ServerLimits limits;
    limits.workers = 4;
    Served served(limits);
    std::atomic<int> wrong = 0, running = kThreads;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
        threads.emplace_back([&, i] {
            wrong += live(served.address, 17 + static_cast<unsigned>(i));
            --running;
        });
    }
    while (running > 0) {  // others answer what is held, and look at it
        served.holding->release();
        static_cast<void>(served.server->counts());
        std::this_thread::yield();
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
    wait_until([&] {
        served.holding->release();
        return served.server->counts().calls == 0 && served.server->counts().connections == 0;
    });
    CHECK(served.server->counts().memory_bytes == 0);
}

TEST(a_connection_whose_messages_come_one_by_one_keeps_their_order) {
    ServerLimits limits;
    limits.workers = 4;
    Served served(limits);
    Caller caller(served.address, 1 << 20);
    for (int round = 0; round < 20; ++round) {
        const std::int32_t stream = caller.call(kStream, "", {}, false);
        std::string all;
        for (int i = 0; i < 200; ++i) {
            const std::string message = framed(std::to_string(i));
            all += message;
            caller.send_more(stream, message, false);
            caller.go_on();
        }
        caller.send_more(stream, "", true);
        CHECK(caller.until_ended(stream) && caller.streams[stream].body == all);
    }
}

TEST(large_answers_by_threads_of_others_are_sent_to_their_ends) {
    Served served;
    Caller caller(served.address, 1 << 30, true, 4096);
    for (int round = 0; round < 40; ++round) {
        const std::string text = some_text(1'000'000);
        const std::int32_t held = caller.call(kHold, framed(text));
        CHECK(caller.until([&] { return served.holding->held() == 1; }));
        std::thread answering([&] { served.holding->release(); });
        caller.ping();
        CHECK(caller.until_ended(held) && caller.streams[held].message() == text);
        answering.join();
    }
}

TEST(a_server_stops_while_it_is_busy) {
    for (int round = 0; round < 8; ++round) {
        ServerLimits limits;
        limits.workers = 2;
        auto served = std::make_unique<Served>(limits);
        const std::string address = served->address;
        std::atomic<bool> over = false;
        std::vector<std::thread> threads;
        for (int i = 0; i < kThreads; ++i) {
            threads.emplace_back([&, i] {
                while (!over) {
                    try {
                        Caller caller(address);
                        for (int k = 0; k < 10; ++k) caller.call(k % 3 == i % 3 ? kHold : kWork, framed("x"));
                        // Those that are held are given up then, with the connection.
                        caller.until([&] { return over || caller.goaway || answered_of(caller) >= 6; });
                    } catch (const std::runtime_error&) {
                        return;  // nobody listens any more
                    }
                }
            });
        }
        wait_until([&] { return served->server->counts().finished > 50; });
        std::thread other([&] { served->server->stop(std::chrono::milliseconds(round)); });
        served->server->stop(1ms);
        other.join();
        const std::size_t held = served->holding->held();
        CHECK(served->holding->told() == held && served->holding->ended() == held);
        served->holding->release();
        served.reset();
        over = true;
        for (std::thread& thread : threads) thread.join();
    }
}
