// Jobs that wait for a worker: the urgent first, and each kind in the order in which it came. The others have their turn after
// so many urgent ones.
//
// Thread safety: its owner's lock.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <iterator>
#include <utility>
#include <vector>

#include "inference/job.hpp"

namespace persia::inference {

class JobQueue {
  public:
    void put(Job job) { (job.urgent ? urgent_ : others_).push_back(std::move(job)); }
    // Goes before all others: it had its turn, and could not be sent.
    void put_back(Job job) { urgent_.push_front(std::move(job)); }

    std::size_t size() const { return urgent_.size() + others_.size(); }
    bool empty() const { return urgent_.empty() && others_.empty(); }

    // When the one that has waited for longest arrived. REQUIRES: not empty.
    Clock::time_point oldest() const {
        if (urgent_.empty()) return others_.front().arrived;
        if (others_.empty()) return urgent_.front().arrived;
        return std::min(urgent_.front().arrived, others_.front().arrived);
    }

    // Takes up to `most` jobs that somebody still waits for: one, and more as long as all together have at most `most_bytes`.
    // Those that nobody waits for are left out; those whose time is over are put into `expired`, to be told so.
    std::vector<Job> take(std::size_t most, std::size_t most_bytes, Clock::time_point now, std::vector<Job>& expired) {
        std::vector<Job> taken;
        std::size_t bytes = 0;
        while (taken.size() < most && !empty()) {
            const Job& first = next_queue().front();
            const std::size_t of_first = first.request.size_bytes();
            if (!taken.empty() && (first.alone || of_first > most_bytes - bytes)) break;
            Job job = next();
            if (job.responder->has_ended()) continue;
            if (job.deadline && *job.deadline <= now) {
                expired.push_back(std::move(job));
                continue;
            }
            taken.push_back(std::move(job));
            bytes = std::min(bytes + of_first, most_bytes);
            if (taken.back().alone) break;
        }
        return taken;
    }

    std::vector<Job> take_all() {
        std::vector<Job> all(std::make_move_iterator(urgent_.begin()), std::make_move_iterator(urgent_.end()));
        all.insert(all.end(), std::make_move_iterator(others_.begin()), std::make_move_iterator(others_.end()));
        urgent_.clear();
        others_.clear();
        return all;
    }

  private:
    static constexpr std::size_t kMostBeforeOthers = 4;

    // Of which the next one is. REQUIRES: not empty.
    std::deque<Job>& next_queue() {
        const bool urgent = others_.empty() || (!urgent_.empty() && before_others_ < kMostBeforeOthers);
        return urgent ? urgent_ : others_;
    }

    // REQUIRES: not empty.
    Job next() {
        std::deque<Job>& queue = next_queue();
        before_others_ = &queue == &urgent_ && !others_.empty() ? before_others_ + 1 : 0;
        Job job = std::move(queue.front());
        queue.pop_front();
        return job;
    }

    std::deque<Job> urgent_, others_;
    std::size_t before_others_ = 0;  // urgent jobs that were taken while others waited, since the last of those
};

}  // namespace persia::inference
