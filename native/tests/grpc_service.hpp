// A server of the test, what it answers, and a replica that stands for it.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "grpc/server.hpp"
#include "routing/replica.hpp"

namespace persia::routing {

using namespace std::chrono_literals;

constexpr const char* kPath = "/persia.v1.EmbeddingServer/Lookup";

inline std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <class Condition>
void wait_until(Condition condition) {
    while (!condition()) std::this_thread::sleep_for(1ms);
}

// Answers what it was asked after "answer to ", or does what it is told instead.
class Answers final : public grpc::Method {
  public:
    enum class Mood { answer, hold, overloaded, refuse, unwell };

    explicit Answers(std::string prefix = "answer to ") : prefix_(std::move(prefix)) {}

    void on_message(const grpc::ServerCallPtr& call, grpc::ReceivedMessage message) override {
        ++asked;
        switch (mood.load()) {
            case Mood::answer:
                return call->reply(grpc::OutgoingMessage(prefix_ + text_of(message.bytes())));
            case Mood::overloaded:
                return call->finish({grpc::Code::resource_exhausted, "too much to do"}, {{"grpc-retry-pushback-ms", "70"}});
            case Mood::refuse:
                return call->finish({grpc::Code::invalid_argument, "expected 5"});
            case Mood::unwell:
                return call->finish({grpc::Code::unavailable, "loading"});
            case Mood::hold:
                const std::scoped_lock lock(mutex_);
                held_.push_back(call);
        }
    }

    // Calls that were held, and that nobody waits for any more.
    std::size_t given_up() {
        const std::scoped_lock lock(mutex_);
        return static_cast<std::size_t>(std::ranges::count_if(held_, [](const auto& call) { return call->has_ended(); }));
    }
    // Of those that have come: on a busy machine a call may end before it is sent.
    bool all_given_up() { return given_up() == static_cast<std::size_t>(asked); }
    void release() {
        const std::scoped_lock lock(mutex_);
        for (const auto& call : held_) call->reply(grpc::OutgoingMessage(std::string("late")));
        held_.clear();
    }

    std::atomic<Mood> mood = Mood::answer;
    std::atomic<int> asked = 0;

  private:
    const std::string prefix_;
    std::mutex mutex_;
    std::vector<grpc::ServerCallPtr> held_;
};

struct Service {
    explicit Service(std::string where = "127.0.0.1:0", std::string prefix = "answer to ")
        : answers(std::make_shared<Answers>(std::move(prefix))) {
        start(where);
        replica = std::make_shared<Replica>(Target{.address = address});
        become_well();
    }

    ~Service() { stop(); }

    void start(const std::string& where) {
        server = std::make_unique<grpc::Server>(grpc::ServerLimits(), nullptr, nullptr);
        server->add(kPath, answers);
        address = server->listen(where);
        server->start();
    }
    void restart() {
        stop();
        start(address);
    }
    void stop() {
        answers->release();
        server.reset();
    }
    void become_well() { replica->set_health(replica->generation(), {.ready = true, .state = "serving"}); }

    std::shared_ptr<Answers> answers;
    std::unique_ptr<grpc::Server> server;
    std::string address;
    std::shared_ptr<Replica> replica;
};

}  // namespace persia::routing
