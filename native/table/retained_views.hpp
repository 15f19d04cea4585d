// Earlier epochs of a table that can still be read: of each the last snapshot.
//
// A view is kept while it is among the newest, or was asked for a moment ago, so that a server which is ahead of others keeps
// the epoch that they all have. Beyond a limit of memory the oldest go all the same.
//
// Thread safety: none.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "table/snapshot.hpp"

namespace persia {

class RetainedViews {
  public:
    using Clock = std::chrono::steady_clock;
    using View = std::shared_ptr<const Snapshot>;
    // What is given up is taken apart by whoever gets it, without the table's lock.
    using Dropped = std::vector<View>;

    static constexpr std::chrono::seconds kLease{3};                   // after it was current, or asked for
    static constexpr std::size_t kLeastBytes = std::size_t{64} << 20;  // what all may take together

    // share: which part of the base's memory all may take, if that is more.
    explicit RetainedViews(std::size_t most, double share = 0.1) : most_(most), share_(share) {}

    // REQUIRES: it is of the epoch after that of the newest view, if there is one.
    void add(View view, Clock::time_point now) { kept_.push_back({std::move(view), now}); }
    void clear(Dropped& dropped);

    // The view of an epoch, which now has been asked for; null: there is none.
    View find(std::uint64_t epoch, Clock::time_point now);

    // Keeps the view of an epoch, if there is one, as if it were asked for up to then.
    void hold(std::uint64_t epoch, Clock::time_point until);

    // Gives up what is not to be kept beside the current snapshot.
    void trim(const Snapshot& current, Clock::time_point now, Dropped& dropped);

    bool empty() const { return kept_.empty(); }
    std::size_t size() const { return kept_.size(); }
    // REQUIRES: not empty.
    std::uint64_t oldest() const { return kept_.front().view->epoch(); }
    // Of the layers that only views have, at the last trim().
    std::size_t bytes() const { return bytes_; }
    // What they may take beside that base.
    std::size_t most_bytes(const Base& base) const {
        return std::max(kLeastBytes, static_cast<std::size_t>(share_ * static_cast<double>(base.bytes)));
    }
    // Views that went only for their memory.
    std::uint64_t given_up() const { return given_up_; }

    // f(view), which may put another one in its place, for those that are older than a snapshot of that number.
    template <class F>
    void each_before(std::uint64_t number, F f) {
        for (Kept& kept : kept_) {
            if (kept.view->number() < number) f(kept.view);
        }
    }
    bool any_before(std::uint64_t number) const;

  private:
    struct Kept {
        View view;
        Clock::time_point asked;
    };

    std::size_t bytes_beside(const Snapshot& current) const;

    const std::size_t most_;
    const double share_;
    std::deque<Kept> kept_;  // oldest first
    std::size_t bytes_ = 0;
    std::uint64_t given_up_ = 0;
};

}  // namespace persia
