// A worker at the other end of a socket, driven by a test; and those who wait for answers.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "inference/model_version.hpp"

namespace workers {

using namespace persia::inference;

constexpr auto kLong = std::chrono::seconds(20);

using Ids = std::vector<std::string>;

inline ModelLimits batches_of(std::size_t size, std::chrono::milliseconds delay) {
    ModelLimits limits;
    limits.batch_size = size;
    limits.max_batch_delay = delay;
    return limits;
}

// Gets predictions and failures, and lets a test wait for them.
class Caller final : public Responder {
  public:
    bool has_ended() const override { return ended; }
    void on_prediction(Prediction prediction, bool more) override {
        std::string body(reinterpret_cast<const char*>(prediction.body.data()), prediction.body.size());
        put([&] {
            bodies_.push_back(std::move(body));
            is_last_ = !more;
        });
    }
    void on_failure(const Failure& failure) override {
        put([&] {
            failure_ = failure;
            is_last_ = true;
        });
    }

    // The answers until the last one; none: it failed, or nothing came.
    std::vector<std::string> bodies() {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, kLong, [this] { return is_last_; });
        return bodies_;
    }
    std::optional<Failure> failure() {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, kLong, [this] { return is_last_; });
        return failure_;
    }
    bool is_told() const {
        const std::lock_guard lock(mutex_);
        return is_last_;
    }

    std::atomic<bool> ended{false};

  private:
    template <class Change>
    void put(Change change) {
        const std::lock_guard lock(mutex_);
        change();
        changed_.notify_all();
    }

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<std::string> bodies_;
    std::optional<Failure> failure_;
    bool is_last_ = false;
};

inline Job job_of(const std::shared_ptr<Caller>& caller, const std::string& id, const std::string& body = "x") {
    auto owner = std::make_shared<std::string>(body);
    Job job;
    job.request = {id, {}, {{"body", "", std::as_bytes(std::span(*owner))}}, owner};
    job.responder = caller;
    job.arrived = Clock::now();
    return job;
}

// The process at the other end. Blocks.
class Process {
  public:
    Process() {
        int ends[2];
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
        server_end = ends[0];
        socket_ = ends[1];
        const timeval patience{20, 0};
        setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    }
    ~Process() { die(); }

    void die() {
        if (socket_ >= 0) close(std::exchange(socket_, -1));
    }

    // The ids of the next batch; none: the other end has closed.
    std::vector<std::string> batch() {
        std::vector<std::string> ids;
        if (bytes(1) != "I") return ids;
        for (;;) {
            const auto id = text();
            if (!id) return ids;
            ids.push_back(*id);
            while (text()) text();  // headers
            while (text()) {        // inputs
                text();
                text();
            }
        }
    }

    void reply(const std::vector<std::pair<std::string, std::string>>& bodies, bool more = false, int code = 200,
               const std::string& message = "") {
        std::string reply = number(code) + sized(message);
        for (const auto& [id, body] : bodies) {
            reply += sized(id) + sized("") + number(200) + sized("") + number(more ? 1 : 0);
            if (more) reply += sized("ts_stream_next") + sized("true");
            reply += sized(body);
        }
        say(reply + number(-1));
    }
    // One is refused, and others are answered.
    void refuse(const std::string& id, int status, const std::string& why,
                const std::vector<std::pair<std::string, std::string>>& bodies) {
        std::string reply = number(200) + sized("") + sized(id) + sized("") + number(status) + sized("") + number(1) +
                            sized(":refusal") + sized("true") + sized(why);
        for (const auto& [other, body] : bodies) {
            reply += sized(other) + sized("") + number(200) + sized("") + number(0) + sized(body);
        }
        say(reply + number(-1));
    }
    void say(const std::string& bytes) { static_cast<void>(send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL)); }

    int server_end = -1;
    pid_t id = 0;  // of a child that stands for it; 0: nothing does

  private:
    static std::string number(int value) {
        const auto bits = static_cast<unsigned>(value);
        return {static_cast<char>(bits >> 24), static_cast<char>(bits >> 16), static_cast<char>(bits >> 8),
                static_cast<char>(bits)};
    }
    static std::string sized(const std::string& text) { return number(static_cast<int>(text.size())) + text; }

    std::string bytes(std::size_t count) {
        std::string all(count, '\0');
        for (std::size_t got = 0; got < count;) {
            const ssize_t part = recv(socket_, all.data() + got, count - got, 0);
            if (part <= 0) return {};
            got += static_cast<std::size_t>(part);
        }
        return all;
    }
    std::optional<std::string> text() {
        const std::string size = bytes(4);
        if (size.size() != 4) return std::nullopt;
        unsigned length = 0;
        for (const char c : size) length = length << 8 | static_cast<unsigned char>(c);
        if (length == 0xffffffff) return std::nullopt;
        return bytes(length);
    }

    int socket_;
};

// A model and the threads that serve it.
struct Served {
    explicit Served(const ModelLimits& limits = {}) : model(std::make_shared<ModelVersion>("ctr", "1.0", limits, reactor)) {
        reactor.start(2);
    }
    ~Served() { reactor.stop(); }

    std::shared_ptr<WorkerLink> hire(const Process& process) const {
        model->expect_workers(1);
        return model->add_worker(process.server_end, process.id);
    }
    std::shared_ptr<Caller> ask(const std::string& id) const {
        auto caller = std::make_shared<Caller>();
        model->submit(job_of(caller, id));
        return caller;
    }

    persia::net::Reactor reactor;
    std::shared_ptr<ModelVersion> model;
};

}  // namespace workers
