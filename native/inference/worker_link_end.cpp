// How a worker ends: when it has done its work, or because its process has ended, does not answer, or may not go on.
#include <sys/socket.h>
#include <sys/wait.h>

#include <csignal>
#include <optional>
#include <utility>

#include "inference/worker_link.hpp"

namespace persia::inference {

namespace {

// In which it can be seen how a process ends that has closed its connection.
constexpr auto kLookEvery = std::chrono::milliseconds(1);
constexpr int kLooks = 100;

// In TorchServe's words, by which callers may know it.
constexpr const char* kDied = "Worker died.";

// HTTP's status: 507 if it was killed, which is mostly by the kernel for want of memory, else 500. nullopt: it has not ended.
// process: a child of this process, for which its parent may still wait; 0, or one that was waited for: nothing is known of it.
std::optional<int> status_of_end(pid_t process) {
    siginfo_t end{};
    if (process == 0 || waitid(P_PID, static_cast<id_t>(process), &end, WEXITED | WNOHANG | WNOWAIT) != 0) return 500;
    if (end.si_pid == 0) return std::nullopt;
    return end.si_code == CLD_KILLED && end.si_status == SIGKILL ? 507 : 500;
}

}  // namespace

void WorkerLink::retire() {
    {
        const std::lock_guard lock(mutex_);
        retiring_ = true;
        if (!batch_.empty()) return;
    }
    end_as(Ending::retired, "", "");
}

void WorkerLink::end(int status, const std::string& reason) { end_as(Ending::lost, reason, reason, status); }

WorkerLink::Ending WorkerLink::wait(std::chrono::milliseconds timeout) const {
    std::unique_lock lock(mutex_);
    ended_.wait_for(lock, timeout, [this] { return ending_ != Ending::none; });
    return ending_;
}

std::string WorkerLink::reason() const {
    const std::lock_guard lock(mutex_);
    return reason_;
}

void WorkerLink::on_closed() { look_at_end(kLooks); }

// A process closes its connection a moment before it can be seen how it ends, which those who wait for its answers are told.
void WorkerLink::look_at_end(int looks) {
    const auto status = status_of_end(process_);
    bool is_waited_for = false;
    {
        const std::lock_guard lock(mutex_);
        // A batch for a worker that was retired meanwhile goes to another one at once.
        is_waited_for = !batch_.empty() && ending_ == Ending::none;
    }
    if (status || looks == 0 || !is_waited_for) return end_as(Ending::lost, "", kDied, status.value_or(500));
    // Held, because its employer may have forgotten it, and somebody waits for an answer to the batch.
    reactor_.at(Clock::now() + kLookEvery, [self = shared_from_this(), looks] { self->look_at_end(looks - 1); });
}

// Its process may go on, and does not say why.
void WorkerLink::lose(const std::string& reason) { end_as(Ending::lost, reason, "Worker died: " + reason); }

// words: for those who wait for its answers.
void WorkerLink::end_as(Ending ending, const std::string& reason, const std::string& words, int status) {
    std::vector<Job> lost;
    bool heard_of_it = true, is_first = false;
    {
        const std::lock_guard lock(mutex_);
        lost = std::exchange(batch_, {});
        heard_of_it = has_sent_;
        unsent_.clear();
        is_first = ending_ == Ending::none;
        if (is_first) {
            ending_ = ending;
            reason_ = reason;
        }
    }
    const auto employer = employer_.lock();
    if (is_first) {
        reactor_.forget(key_);
        shutdown(socket_, SHUT_RDWR);
        ended_.notify_all();
        if (employer) employer->on_lost(shared_from_this());
    }
    if (!lost.empty() && employer && !heard_of_it) return employer->on_unsent(std::move(lost));
    fail_all(lost, {Failure::Kind::worker_died, status, words, {}});
}

// With the lock.
void WorkerLink::watch_time() {
    if (limits_.response_timeout.count() == 0) return;
    patience_ends_ = Clock::now() + limits_.response_timeout;
    if (std::exchange(watches_time_, true)) return;
    reactor_.at(patience_ends_, [weak = weak_from_this()] {
        if (const auto worker = weak.lock()) worker->on_time();
    });
}

void WorkerLink::on_time() {
    {
        const std::lock_guard lock(mutex_);
        watches_time_ = false;
        if (batch_.empty() || ending_ != Ending::none) return;
        if (Clock::now() < patience_ends_) {
            watches_time_ = true;
            reactor_.at(patience_ends_, [weak = weak_from_this()] {
                if (const auto worker = weak.lock()) worker->on_time();
            });
            return;
        }
    }
    end_as(Ending::timed_out, "", kDied);
}

}  // namespace persia::inference
