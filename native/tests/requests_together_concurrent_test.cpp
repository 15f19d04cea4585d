// Requests that a worker takes together, and one of them that it refuses.
#include "check.hpp"
#include "workers.hpp"

using namespace workers;
using namespace std::chrono_literals;

TEST(requests_that_wait_go_together_by_the_batch_size_or_as_a_handler_takes_them) {
    for (const bool by_handler : {false, true}) {
        const Served served(by_handler ? batches_of(1, 60s) : batches_of(3, 0ms));
        if (by_handler) served.model->set_requests_at_once(3);
        Process process;
        served.hire(process);
        std::vector<std::shared_ptr<Caller>> callers{served.ask("0")};
        CHECK(process.batch() == Ids{"0"});  // nobody waits for others
        for (const char* id : {"1", "2", "3", "4"}) callers.push_back(served.ask(id));
        process.reply({{"0", "0"}});
        CHECK((process.batch() == Ids{"1", "2", "3"}));
        process.reply({{"2", "2"}, {"1", "1"}, {"3", "3"}});
        CHECK(process.batch() == Ids{"4"});
        process.reply({{"4", "4"}});
        for (std::size_t i = 0; i < callers.size(); ++i) CHECK(callers[i]->bodies() == Ids{std::to_string(i)});
    }
}

TEST(each_worker_takes_its_share_of_what_waits) {
    const Served served;
    served.model->set_requests_at_once(16);
    Process first, second;
    served.hire(first);
    served.hire(second);
    std::vector<std::shared_ptr<Caller>> callers{served.ask("0"), served.ask("1")};
    const Ids at_first = first.batch();
    second.batch();
    for (const char* id : {"2", "3", "4", "5"}) callers.push_back(served.ask(id));
    first.reply({{at_first.front(), ""}});
    CHECK((first.batch() == Ids{"2", "3"}));
}

TEST(large_requests_go_alone) {
    const Served served;
    served.model->set_requests_at_once(16);
    Process process;
    served.hire(process);
    const auto first = served.ask("0");
    process.batch();
    std::vector<std::shared_ptr<Caller>> callers;
    for (const std::size_t bytes : {1'600'000, 1'600'000, 1'600'000, 8'000'000}) {
        callers.push_back(std::make_shared<Caller>());
        served.model->submit(job_of(callers.back(), std::to_string(callers.size()), std::string(bytes, 'x')));
    }
    process.reply({{"0", ""}});
    CHECK((process.batch() == Ids{"1", "2"}));
    process.reply({{"1", ""}, {"2", ""}});
    CHECK(process.batch() == Ids{"3"});
    process.reply({{"3", ""}});
    CHECK(process.batch() == Ids{"4"});
}

TEST(a_worker_refuses_one_request_of_a_batch) {
    const Served served(batches_of(2, 60s));
    Process process;
    served.hire(process);
    const auto refused = served.ask("refused"), answered = served.ask("answered");
    process.batch();
    process.refuse("refused", 400, "no such feature", {{"answered", "answer"}});
    const auto failure = refused->failure();
    CHECK(failure->kind == Failure::Kind::handler && failure->status == 400 && failure->message == "no such feature");
    CHECK(answered->bodies() == Ids{"answer"});
}
