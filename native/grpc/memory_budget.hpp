// A bound on the memory of all requests and answers of a server. A process with several servers has a budget for each.
//
// Thread safety: any thread may call all of it.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

namespace persia::grpc {

class MemoryBudget {
  public:
    explicit MemoryBudget(std::size_t limit) : limit_(limit) {}

    // False: so much is not left, and nothing was taken.
    bool take(std::size_t bytes) {
        std::size_t used = used_.load(std::memory_order_relaxed);
        do {
            if (bytes > limit_ || used > limit_ - bytes) return false;
        } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
        return true;
    }
    void give_back(std::size_t bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }

    std::size_t used() const { return used_.load(std::memory_order_relaxed); }
    std::size_t limit() const { return limit_; }

  private:
    const std::size_t limit_;
    std::atomic<std::size_t> used_{0};
};

// What was taken of a budget, and goes back when this does. May grow. Movable.
class Reservation {
  public:
    Reservation() = default;
    // Of no budget: everything is there.
    explicit Reservation(std::shared_ptr<MemoryBudget> budget) : budget_(std::move(budget)) {}
    Reservation(Reservation&& other) noexcept : budget_(std::move(other.budget_)), bytes_(std::exchange(other.bytes_, 0)) {}
    Reservation& operator=(Reservation&& other) noexcept {
        std::swap(budget_, other.budget_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~Reservation() {
        if (budget_ && bytes_ != 0) budget_->give_back(bytes_);
    }

    // Takes more until it has so many bytes. False: so much is not left.
    bool grow_to(std::size_t bytes) {
        if (bytes <= bytes_) return true;
        if (budget_ && !budget_->take(bytes - bytes_)) return false;
        bytes_ = bytes;
        return true;
    }
    std::size_t bytes() const { return bytes_; }
    // Null: of none.
    const std::shared_ptr<MemoryBudget>& budget() const { return budget_; }

  private:
    std::shared_ptr<MemoryBudget> budget_;
    std::size_t bytes_ = 0;
};

}  // namespace persia::grpc
