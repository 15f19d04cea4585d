// The server's end of the socket to a worker, which is a process that runs a handler: batches go to it one at a time, and
// replies come back. At the other end is WorkerLoop of model_server/worker.py; model_server/worker_process.py starts the
// process.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "inference/job.hpp"
#include "net/reactor.hpp"

namespace persia::inference {

class WorkerLink;

// Who gives a worker its work. Thread safety: any thread may call all of it.
class Employer {
  public:
    virtual ~Employer() = default;
    // It has done its batch, and could have another one.
    virtual void on_free(const std::shared_ptr<WorkerLink>& worker) = 0;
    // It is of no more use. Told once.
    virtual void on_lost(const std::shared_ptr<WorkerLink>& worker) = 0;
    // It was lost before it heard of these.
    virtual void on_unsent(std::vector<Job> jobs) = 0;
    // It has answered a job of the batch that it was sent then.
    virtual void on_answered(const Job& job, Clock::time_point sent, Clock::time_point replied) = 0;
    // It has done a batch, which took so long. on_free() or on_lost() follows.
    virtual void on_batch_done(const std::shared_ptr<WorkerLink>& worker, std::chrono::nanoseconds took) = 0;
};

struct WorkerLimits {
    std::size_t max_body_bytes = 6'553'500;
    std::chrono::milliseconds response_timeout{120'000};  // after which a worker that does not answer is given up; 0: never
};

// Thread safety: any thread may call all of it.
class WorkerLink final : public net::Watched, public std::enable_shared_from_this<WorkerLink> {
  public:
    // Takes the socket, and closes it. process: at its other end, a child of this one; 0: it is not known.
    WorkerLink(int socket, pid_t process, const WorkerLimits& limits, net::Reactor& reactor, std::weak_ptr<Employer> employer);
    ~WorkerLink() override;

    // From now on it is read.
    void begin();

    // REQUIRES: it is free, and the batch is not empty.
    void send(std::vector<Job> batch);

    // No more work: it ends when it has done its batch.
    void retire();
    // It ends at once, and what it works on fails with a status of HTTP's and the reason.
    void end(int status, const std::string& reason);

    enum class Ending { none, retired, lost, timed_out };
    // Waits until it has ended, for so long at most.
    Ending wait(std::chrono::milliseconds timeout) const;
    // Why it was lost, which those who waited for its answers are told too. Empty: it was not lost, or it closed its
    // connection, and how its process ends may say why.
    std::string reason() const;

    int socket() const override { return socket_; }

  private:
    void on_ready(std::uint32_t events) override;
    bool write_some();
    bool read_some(std::vector<WorkerReply>& replies);
    void take_reply(WorkerReply reply);
    void finish_batch();
    void on_closed();
    void look_at_end(int looks);
    void lose(const std::string& reason);
    void end_as(Ending ending, const std::string& reason, const std::string& words, int status = 500);
    void watch_time();
    void on_time();

    const int socket_;
    const pid_t process_;
    const WorkerLimits limits_;
    net::Reactor& reactor_;
    const std::weak_ptr<Employer> employer_;
    net::Reactor::Key key_ = 0;

    mutable std::mutex mutex_;  // over what follows
    mutable std::condition_variable ended_;
    Ending ending_ = Ending::none;
    std::string reason_;
    bool retiring_ = false;
    std::vector<Job> batch_;  // those of it that are not answered
    Clock::time_point sent_, patience_ends_;
    bool watches_time_ = false;
    std::vector<grpc::OutgoingMessage::Piece> unsent_;  // in reverse
    std::size_t unsent_from_ = 0;                       // of the last of them
    bool has_sent_ = false;                             // something of the batch
    ReplyReader reader_;
};

}  // namespace persia::inference
