// Queues, batches and workers of a model.
#include "inference/model_version.hpp"

#include <thread>

#include "check.hpp"
#include "workers.hpp"

using namespace workers;
using namespace std::chrono_literals;

TEST(a_request_goes_to_a_free_worker_and_its_answer_comes_back) {
    const Served served;
    Process process;
    served.hire(process);
    const auto caller = served.ask("a");
    CHECK(process.batch() == Ids{"a"});
    process.reply({{"a", "answer"}});
    CHECK(caller->bodies() == Ids{"answer"});
    CHECK(served.model->wait_until_idle(kLong));
}

TEST(requests_wait_for_a_worker_that_is_on_its_way) {
    const Served served;
    served.model->expect_workers(1);
    const auto caller = served.ask("a");
    CHECK(served.model->counts().queued == 1);
    Process process;
    served.hire(process);
    CHECK(process.batch() == Ids{"a"});
    process.reply({{"a", "answer"}});
    CHECK(caller->bodies() == Ids{"answer"});
}

TEST(a_model_without_workers_refuses_at_once) {
    const Served served;
    CHECK(served.ask("a")->failure()->kind == Failure::Kind::no_worker);
    served.model->expect_workers(1);
    const auto waiting = served.ask("b");
    CHECK(!waiting->is_told());
    served.model->expect_workers(0);
    CHECK(waiting->failure()->status == 503);
}

TEST(a_batch_waits_for_more_but_not_for_longer_than_its_delay) {
    const Served served(batches_of(2, 50ms));
    Process process;
    served.hire(process);
    const auto began = Clock::now();
    const auto lone = served.ask("lone");
    CHECK(process.batch() == Ids{"lone"});
    CHECK(Clock::now() - began >= 50ms);
    process.reply({{"lone", ""}});
    lone->bodies();
    const auto first = served.ask("1"), second = served.ask("2");
    CHECK((process.batch() == Ids{"1", "2"}));
}

TEST(urgent_requests_go_first) {
    const Served served;
    Process process;
    served.hire(process);
    const auto first = served.ask("first");
    CHECK(process.batch() == Ids{"first"});
    const auto later = served.ask("later"), urgent = std::make_shared<Caller>();
    Job job = job_of(urgent, "urgent");
    job.urgent = true;
    served.model->submit(std::move(job));
    process.reply({{"first", ""}});
    CHECK(process.batch() == Ids{"urgent"});
}

TEST(a_full_queue_refuses_with_a_hint) {
    ModelLimits limits;
    limits.queue_size = 2;
    const Served served(limits);
    Process process;
    served.hire(process);
    const auto at_work = served.ask("0");
    process.batch();
    const auto one = served.ask("1"), two = served.ask("2");
    const auto refused = served.ask("3")->failure();
    CHECK(refused->kind == Failure::Kind::queue_full && refused->status == 429 && refused->retry_after.count() > 0);
    CHECK(served.model->counts().refused == 1);
}

TEST(what_nobody_waits_for_is_not_begun) {
    const Served served;
    Process process;
    served.hire(process);
    const auto at_work = served.ask("0");
    process.batch();
    const auto cancelled = served.ask("cancelled");
    cancelled->ended = true;
    const auto late = std::make_shared<Caller>();
    Job job = job_of(late, "late");
    job.deadline = Clock::now() + 1ms;
    served.model->submit(std::move(job));
    const auto next = served.ask("next");
    std::this_thread::sleep_until(Clock::now() + 5ms);
    process.reply({{"0", ""}});
    CHECK(process.batch() == Ids{"next"});
    CHECK(late->failure()->kind == Failure::Kind::expired);
    CHECK(!cancelled->is_told());
}

TEST(a_request_that_would_be_late_is_refused_when_it_comes) {
    const Served served;
    Process process;
    served.hire(process);
    const auto slow = served.ask("0");
    process.batch();
    std::this_thread::sleep_until(Clock::now() + 100ms);
    process.reply({{"0", ""}});
    slow->bodies();
    const auto at_work = served.ask("1");
    process.batch();
    const auto hurried = std::make_shared<Caller>();
    Job job = job_of(hurried, "2");
    job.deadline = Clock::now() + 20ms;
    served.model->submit(std::move(job));
    CHECK(hurried->failure()->kind == Failure::Kind::queue_full);
}

TEST(answers_are_streamed) {
    const Served served;
    Process process;
    served.hire(process);
    const auto caller = served.ask("a");
    process.batch();
    process.reply({{"a", "1"}}, true);
    process.reply({{"a", "2"}}, true);
    process.reply({{"a", "3"}});
    CHECK((caller->bodies() == Ids{"1", "2", "3"}));
}

TEST(what_a_worker_says_of_a_batch_is_told_to_all_of_it) {
    const Served served(batches_of(2, 1000ms));
    Process process;
    served.hire(process);
    const auto first = served.ask("1"), second = served.ask("2");
    process.batch();
    process.reply({}, false, 599, "my own code");
    for (const auto& caller : {first, second}) {
        CHECK(caller->failure()->status == 599 && caller->failure()->message == "my own code");
    }
    const auto third = served.ask("3"), fourth = served.ask("4");
    process.batch();
    process.reply({{"3", "only"}});
    CHECK(third->bodies() == Ids{"only"} && fourth->failure()->status == 503);
}

TEST(a_worker_that_dies_costs_what_it_worked_on_and_no_more) {
    const Served served;
    auto process = std::make_unique<Process>();
    const auto worker = served.hire(*process);
    const auto lost = served.ask("lost");
    process->batch();
    const auto waiting = served.ask("waiting");
    process->die();
    CHECK(lost->failure()->kind == Failure::Kind::worker_died);
    CHECK(worker->wait(kLong) == WorkerLink::Ending::lost);
    Process other;
    served.hire(other);
    CHECK(other.batch() == Ids{"waiting"});
    other.reply({{"waiting", "answer"}});
    CHECK(waiting->bodies() == Ids{"answer"});
}

TEST(a_worker_that_says_what_nobody_asked_is_given_up) {
    const Served served;
    Process process, other;
    const auto worker = served.hire(process);
    process.reply({{"a", "b"}});
    CHECK(worker->wait(kLong) == WorkerLink::Ending::lost);
    CHECK(worker->reason() == "it sent a reply while it had no request");
    const auto garbled = served.hire(other);
    const auto caller = served.ask("a");
    other.batch();
    other.say(std::string(100, '\xfe'));
    CHECK(garbled->wait(kLong) == WorkerLink::Ending::lost);
    CHECK(garbled->reason().starts_with("it sent a reply that cannot be read: at byte "));
    CHECK(caller->failure()->kind == Failure::Kind::worker_died &&
          caller->failure()->message == "Worker died: " + garbled->reason());
}

TEST(a_worker_that_does_not_answer_is_given_up) {
    ModelLimits limits;
    limits.worker.response_timeout = 30ms;
    const Served served(limits);
    Process process;
    const auto worker = served.hire(process);
    const auto caller = served.ask("a");
    process.batch();
    CHECK(caller->failure()->kind == Failure::Kind::worker_died);
    CHECK(worker->wait(kLong) == WorkerLink::Ending::timed_out);
}

TEST(a_worker_that_retires_ends_what_it_works_on) {
    const Served served;
    Process process, idle;
    const auto worker = served.hire(process);
    const auto caller = served.ask("a");
    process.batch();
    worker->retire();
    CHECK(worker->wait(0ms) == WorkerLink::Ending::none);
    process.reply({{"a", "answer"}});
    CHECK(caller->bodies() == Ids{"answer"});
    CHECK(worker->wait(kLong) == WorkerLink::Ending::retired);
    CHECK(process.batch().empty());  // the socket is closed
    const auto without_work = served.hire(idle);
    without_work->retire();
    CHECK(without_work->wait(kLong) == WorkerLink::Ending::retired);
    CHECK(served.model->counts().workers == 0 && served.model->counts().at_work == 0);
    CHECK(served.model->wait_until_idle(0ms));
}

TEST(every_request_is_answered_while_workers_come_and_go) {
    constexpr int kCallers = 3, kEach = 300;
    const Served served(batches_of(4, 1ms));
    served.model->expect_workers(2);
    std::atomic<bool> done = false;
    std::vector<std::thread> processes;
    for (int i = 0; i < 2; ++i) {
        processes.emplace_back([&served, &done, i] {
            for (int life = 0; !done; ++life) {
                Process process;
                const auto worker = served.model->add_worker(process.server_end, 0);
                for (int batches = 0; !done; ++batches) {
                    if (batches == 20 + i) worker->retire();
                    const Ids ids = process.batch();
                    if (ids.empty()) break;
                    std::vector<std::pair<std::string, std::string>> bodies;
                    for (const std::string& id : ids) bodies.emplace_back(id, "to " + id);
                    process.reply(bodies);
                }
                if (done) worker->end(500, "the test is over");
            }
        });
    }
    std::atomic<int> wrong = 0;
    std::vector<std::thread> callers;
    for (int i = 0; i < kCallers; ++i) {
        callers.emplace_back([&served, &wrong, i] {
            for (int k = 0; k < kEach; ++k) {
                const std::string id = std::to_string(i) + "/" + std::to_string(k);
                if (served.ask(id)->bodies() != Ids{"to " + id}) ++wrong;
            }
        });
    }
    for (std::thread& caller : callers) caller.join();
    done = true;
    while (served.model->counts().workers != 0) {
        const auto last = served.ask("last");
        last->bodies();
    }
    for (std::thread& process : processes) process.join();
    CHECK(wrong == 0);
}
