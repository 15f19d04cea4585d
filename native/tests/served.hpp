// A server of the test, with methods that do what tests need.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "grpc/server.hpp"
#include "http2_caller.hpp"

namespace persia::grpc {

using namespace std::chrono_literals;

template <class Condition>
void wait_until(Condition condition) {
    while (!condition()) std::this_thread::sleep_for(1ms);
}

// Answers with what it was sent.
class Echo final : public Method {
  public:
    explicit Echo(std::size_t work = 0) : work_(work) {}
    void on_message(const ServerCallPtr& call, ReceivedMessage message) override {
        call->reply(OutgoingMessage(text_of(message.bytes())));
    }
    std::size_t work_of(const ReceivedMessage&) const override { return work_; }

  private:
    const std::size_t work_;
};

// Answers each message of a stream with itself, and ends with the client.
class EchoStream final : public Method {
  public:
    void on_message(const ServerCallPtr& call, ReceivedMessage message) override {
        call->send(OutgoingMessage(text_of(message.bytes())));
    }
    void on_messages_end(const ServerCallPtr& call) override { call->finish({}); }
    bool takes_stream() const override { return true; }
};

// Answers with so many bytes as the message says, of the server's memory.
class Numbers final : public Method {
  public:
    void on_message(const ServerCallPtr& call, ReceivedMessage message) override {
        struct Held {
            Reservation reservation;
            std::string bytes;
        };
        const auto held = std::make_shared<Held>();
        const std::size_t size = std::stoul(text_of(message.bytes()));
        if (!call->reserve(held->reservation, size)) return call->finish({Code::resource_exhausted, "no memory"});
        held->bytes = some_text(size);
        OutgoingMessage answer;
        answer.append(std::as_bytes(std::span(held->bytes)), held);
        call->reply(std::move(answer));
    }
};

// Keeps its calls until it is told to answer them.
class Holding final : public Method {
  public:
    void on_message(const ServerCallPtr& call, ReceivedMessage message) override {
        const std::lock_guard lock(mutex_);
        held_.emplace_back(call, std::move(message));
    }
    bool watches_end() const override { return true; }
    void on_call_end(const ServerCallPtr& call) override {
        const std::lock_guard lock(mutex_);
        told_.insert(call.get());
        ++ends;
    }

    std::size_t held() const {
        const std::lock_guard lock(mutex_);
        return held_.size();
    }
    std::size_t ended() const {
        const std::lock_guard lock(mutex_);
        std::size_t count = 0;
        for (const auto& [call, message] : held_) count += call->has_ended() ? 1 : 0;
        return count;
    }
    // Of how many of those that it keeps it was told the end.
    std::size_t told() const {
        const std::lock_guard lock(mutex_);
        std::size_t count = 0;
        for (const auto& [call, message] : held_) count += told_.contains(call.get()) ? 1 : 0;
        return count;
    }
    ServerCallPtr call(std::size_t index = 0) const {
        const std::lock_guard lock(mutex_);
        return held_.at(index).first;
    }
    void release() {
        std::vector<std::pair<ServerCallPtr, ReceivedMessage>> all;
        {
            const std::lock_guard lock(mutex_);
            all.swap(held_);
        }
        for (const auto& [call, message] : all) call->reply(OutgoingMessage(text_of(message.bytes())));
    }

    std::atomic<std::size_t> ends = 0;

  private:
    mutable std::mutex mutex_;
    std::vector<std::pair<ServerCallPtr, ReceivedMessage>> held_;
    std::set<const ServerCall*> told_;
};

class Throwing final : public Method {
  public:
    void on_message(const ServerCallPtr&, ReceivedMessage message) override {
        const std::string what = text_of(message.bytes());
        if (what == "memory") throw std::bad_alloc();
        if (what == "number") throw 5;
        throw std::runtime_error("a bug of a method");
    }
    std::size_t work_of(const ReceivedMessage& message) const override {
        return text_of(message.bytes()) == "work" ? 1 << 20 : 0;
    }
};

// Answers when the time for it is over.
class Late final : public Method {
  public:
    void on_message(const ServerCallPtr& call, ReceivedMessage) override {
        while (!call->has_ended()) std::this_thread::yield();
        call->reply(OutgoingMessage("late"));
    }
};

// Ends with more than HTTP/2 sends as trailers.
class LongTrailers final : public Method {
  public:
    void on_message(const ServerCallPtr& call, ReceivedMessage) override {
        call->finish({}, {{"x", std::string(100'000, 'x')}});
    }
};

constexpr const char *kEcho = "/test.Test/Echo", *kWork = "/test.Test/Work", *kStream = "/test.Test/Stream",
                     *kNumbers = "/test.Test/Numbers", *kHold = "/test.Test/Hold", *kThrow = "/test.Test/Throw",
                     *kLong = "/test.Test/Long", *kLate = "/test.Test/Late";

struct Served {
    explicit Served(const ServerLimits& limits = {}) : server(std::make_unique<Server>(limits, nullptr, nullptr)) {
        server->add(kEcho, std::make_shared<Echo>());
        server->add(kWork, std::make_shared<Echo>(1 << 20));
        server->add(kStream, std::make_shared<EchoStream>());
        server->add(kNumbers, std::make_shared<Numbers>());
        server->add(kHold, holding);
        server->add(kThrow, std::make_shared<Throwing>());
        server->add(kLate, std::make_shared<Late>());
        server->add(kLong, std::make_shared<LongTrailers>());
        address = server->listen("127.0.0.1:0");
        server->start();
    }

    std::shared_ptr<Holding> holding = std::make_shared<Holding>();
    std::unique_ptr<Server> server;
    std::string address;
};

inline std::string status_of(const Http2Caller::Stream& stream) { return stream.header("grpc-status"); }
inline std::string words_of(const Http2Caller::Stream& stream) { return percent_decoded(stream.header("grpc-message")); }
inline bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace persia::grpc
