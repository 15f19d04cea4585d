// Requests that threads of somebody else answer, such as an interpreter's: they take one after the other.
//
// Thread safety: any thread may call all of it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>

#include "http/exchange.hpp"

namespace persia::http {

class ExchangeQueue {
  public:
    // Requests that stand in line beyond `most` are not taken.
    explicit ExchangeQueue(std::size_t most = 1024) : most_(most) {}

    // False: too many stand in line, or it was closed.
    bool put(ExchangePtr exchange) {
        const std::lock_guard lock(mutex_);
        if (closed_ || line_.size() >= most_) return false;
        line_.push_back(std::move(exchange));
        come_.notify_one();
        return true;
    }

    // Waits for so long at most; null: nothing came, or it was closed. What nobody waits for any more is left out.
    ExchangePtr next(std::chrono::milliseconds timeout) {
        const auto until = Clock::now() + timeout;
        std::unique_lock lock(mutex_);
        for (;;) {
            if (!come_.wait_until(lock, until, [this] { return closed_ || !line_.empty(); }) || line_.empty()) return nullptr;
            ExchangePtr exchange = std::move(line_.front());
            line_.pop_front();
            if (!exchange->has_ended()) return exchange;
        }
    }

    bool closed() const {
        const std::lock_guard lock(mutex_);
        return closed_;
    }
    void close() {
        const std::lock_guard lock(mutex_);
        closed_ = true;
        come_.notify_all();
    }

  private:
    const std::size_t most_;
    mutable std::mutex mutex_;  // over what follows
    std::condition_variable come_;
    std::deque<ExchangePtr> line_;
    bool closed_ = false;
};

}  // namespace persia::http
