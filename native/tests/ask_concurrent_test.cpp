// Many threads ask services whose servers come and go: no call is lost, and none gets the answer of another one.
#include "routing/ask.hpp"

#include <unistd.h>

#include "check.hpp"
#include "grpc_service.hpp"

using namespace persia;
using namespace persia::routing;
using Mood = Answers::Mood;

namespace {

const unsigned kWatch = alarm(300);  // who waits for ever is ended
constexpr RetryPolicy kPolicy{.hedge_after = 10ms, .wait_for_service = 60s, .spin_for = 50us};
constexpr int kThreads = 4;
constexpr int kCalls = 300;

std::string somewhere(const char* name) { return "unix:/tmp/persia-" + std::to_string(getpid()) + "-" + name; }

std::shared_ptr<ReplicaSet> set_of(const char* name, const Service& one, const Service& other) {
    return std::make_shared<ReplicaSet>(name, ReplicaSet::Replicas{one.replica, other.replica});
}

// Asks whether a server is well, as soon as it is not.
struct Prober {
    explicit Prober(const std::shared_ptr<Replica>& watched) : replica(watched) {}
    ~Prober() {
        done = true;
        replica->suspect(replica->generation(), "the test is over");
        thread.join();
    }

    void run() {
        while (!done) {
            const std::uint64_t generation = replica->generation();
            const grpc::Reply reply = replica->call(kPath, grpc::OutgoingMessage(std::string("well?")), 10);
            Health health{.ready = reply.status.ok(), .state = reply.status.message};
            replica->set_health(generation, health);
            replica->wait_for_change(generation, health.ready ? 1 : 0.002);
        }
    }

    std::shared_ptr<Replica> replica;
    std::atomic<bool> done = false;
    std::thread thread{[this] { run(); }};
};

// What goes wrong in `threads` that each ask both services for things of their own.
std::string ask_for_a_while(const std::shared_ptr<ReplicaSet>& first, const std::shared_ptr<ReplicaSet>& second,
                            std::atomic<int>& answered) {
    std::mutex mutex;
    std::string problem;
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < kCalls; ++i) {
                const std::string question =
                    std::to_string(t) + "/" + std::to_string(i) + std::string(i % 7 == 0 ? 100'000 : 5, 'q');
                const auto check = [&](std::span<const std::byte> bytes) {
                    return text_of(bytes) == "answer to " + question ? "" : "expected an answer to the question";
                };
                std::vector<Call> calls;
                for (const auto& service : {first, second}) {
                    calls.emplace_back(service, kPath, grpc::OutgoingMessage(question), check);
                }
                Asking asking(std::move(calls), Clock::now() + 60s, kPolicy);
                asking.begin();
                asking.finish();
                for (const Call& call : asking.calls()) {
                    const std::scoped_lock lock(mutex);
                    if (call.has_answer())
                        ++answered;
                    else if (call.has_error())
                        problem = call.error().status.message;
                }
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    return problem;
}

}  // namespace

TEST(no_call_is_lost_while_servers_come_and_go) {
    Service a(somewhere("a")), b(somewhere("b")), c(somewhere("c")), d(somewhere("d"));
    const auto first = set_of("shard 0 of 2", a, b), second = set_of("shard 1 of 2", c, d);
    std::atomic<int> answered = 0;
    std::atomic<bool> done = false;
    int restarts = 0;
    std::string problem;
    {
        Prober probers[] = {Prober(a.replica), Prober(b.replica), Prober(c.replica), Prober(d.replica)};
        std::thread comes_and_goes([&] {
            // One of each service stays well.
            for (Service* one = &a; !done; one = one == &a ? &d : &a) {
                const int before = answered;
                one->server->stop(restarts % 2 == 0 ? 0ms : 100ms);
                wait_until([&] { return done || answered > before; });
                one->restart();
                wait_until([&] { return done || one->replica->usable(); });
                ++restarts;
            }
        });
        problem = ask_for_a_while(first, second, answered);
        done = true;
        comes_and_goes.join();
    }
    CHECK(problem.empty());
    if (!problem.empty()) std::fprintf(stderr, "%s\n", problem.c_str());
    CHECK(answered == 2 * kThreads * kCalls && restarts > 0);
}

TEST(replicas_may_change_while_they_are_asked) {
    Service a(somewhere("a")), b(somewhere("b"));
    const auto service = set_of("shard 0 of 1", a, b);
    std::atomic<int> answered = 0;
    std::atomic<bool> done = false;
    std::thread changes([&] {
        while (!done) {
            service->set_replicas({a.replica});
            service->set_replicas({b.replica, a.replica}, "somewhere: not known");
            a.replica->exclude(a.replica->excluded().empty() ? "another checkpoint" : "");
            static_cast<void>(service->why_unusable());
            static_cast<void>(service->hanging(Clock::now()));
        }
    });
    const std::string problem = ask_for_a_while(service, service, answered);
    done = true;
    changes.join();
    CHECK(problem.empty() && answered == 2 * kThreads * kCalls);
}

TEST(calls_that_are_given_up_leave_connections_that_work) {
    Service service(somewhere("a"));
    const auto only = std::make_shared<ReplicaSet>("shard 0 of 1", ReplicaSet::Replicas{service.replica});
    std::vector<std::thread> threads;
    std::atomic<int> wrong = 0;
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < kCalls; ++i) {
                const std::string question = std::to_string(t) + "/" + std::to_string(i);
                std::vector<Call> calls;
                calls.emplace_back(only, kPath, grpc::OutgoingMessage(question), [](auto) { return ""; });
                Asking asking(std::move(calls), Clock::now() + (i % 3 == 0 ? Clock::duration(1us) : Clock::duration(60s)),
                              kPolicy);
                asking.begin();
                if (i % 3 == 1) continue;  // nobody waits for it
                asking.finish();
                Call& call = asking.calls().front();
                if (call.has_answer() && text_of(call.answer().bytes()) != "answer to " + question) ++wrong;
                if (!call.has_answer() && i % 3 == 2) ++wrong;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0 && service.replica->usable());
}
