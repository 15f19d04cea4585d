// Workers that end before, or while, they get their work.
#include <sys/wait.h>

#include <csignal>
#include <thread>

#include "check.hpp"
#include "inference/model_version.hpp"
#include "workers.hpp"

using namespace workers;

// What an employer is told.
struct Told final : Employer {
    void on_free(const std::shared_ptr<WorkerLink>&) override {}
    void on_lost(const std::shared_ptr<WorkerLink>&) override { ++lost; }
    void on_unsent(std::vector<Job> jobs) override { unsent += jobs.size(); }
    void on_answered(const Job&, Clock::time_point, Clock::time_point) override {}
    void on_batch_done(const std::shared_ptr<WorkerLink>&, std::chrono::nanoseconds) override {}
    std::size_t lost = 0, unsent = 0;
};

// A child that stands for a worker, and ends so.
struct Child {
    Child() : id(fork()) {
        if (id != 0) return;
        for (;;) pause();
    }
    ~Child() { waitpid(id, nullptr, 0); }
    const pid_t id;
};

// It may end between the moment at which it is chosen and that at which it gets the batch.
TEST(a_worker_that_is_lost_when_it_gets_a_batch_is_lost_once) {
    persia::net::Reactor reactor;
    reactor.start(1);
    const auto told = std::make_shared<Told>();
    Process process;
    const auto worker = std::make_shared<WorkerLink>(process.server_end, 0, WorkerLimits{}, reactor, told);
    worker->begin();
    worker->end(500, "it is not wanted");
    std::vector<Job> batch;
    batch.push_back(job_of(std::make_shared<Caller>(), "a"));
    worker->send(std::move(batch));
    CHECK(told->lost == 1 && told->unsent == 1);
    reactor.stop();
}

// Its process lives on, and its employer has forgotten it, so nobody else would ever do anything about the batch.
TEST(a_batch_for_a_worker_that_was_retired_goes_back_at_once) {
    persia::net::Reactor reactor;
    reactor.start(1);
    const auto told = std::make_shared<Told>();
    const Child child;
    Process process;
    auto worker = std::make_shared<WorkerLink>(process.server_end, child.id, WorkerLimits{}, reactor, told);
    worker->begin();
    worker->retire();
    std::vector<Job> batch;
    batch.push_back(job_of(std::make_shared<Caller>(), "a"));
    worker->send(std::move(batch));
    CHECK(told->lost == 1 && told->unsent == 1);
    worker.reset();
    reactor.stop();
    kill(child.id, SIGKILL);
}

TEST(workers_that_die_at_once_are_counted_once) {
    const Served served;
    for (int i = 0; i < 200; ++i) {
        Process process;
        const auto caller = served.ask("a");
        process.die();
        const auto worker = served.hire(process);
        CHECK(worker->wait(kLong) == WorkerLink::Ending::lost);
    }
    const auto end = Clock::now() + kLong;
    while (served.model->counts().workers != 0 && Clock::now() < end) std::this_thread::yield();
    CHECK(served.model->counts().workers == 0 && served.model->counts().at_work == 0);
}

TEST(who_waits_for_a_process_that_was_killed_is_told_that_memory_is_short) {
    for (const auto& [how, status] : {std::pair{SIGKILL, 507}, {SIGTERM, 500}}) {
        const Child child;
        const Served served;
        Process process;
        process.id = child.id;
        const auto worker = served.hire(process);
        const auto caller = served.ask("a");
        CHECK(process.batch().size() == 1);
        process.die();
        kill(child.id, how);
        CHECK(worker->wait(kLong) == WorkerLink::Ending::lost);
        CHECK(caller->failure() && caller->failure()->status == status && caller->failure()->message == "Worker died.");
    }
}
