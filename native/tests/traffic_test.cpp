// How requests are dealt out among versions, and copied to a candidate.
#include "inference/traffic.hpp"

#include <cmath>
#include <map>
#include <thread>

#include "check.hpp"
#include "inference/models.hpp"
#include "inference/own_request.hpp"
#include "workers.hpp"

using namespace workers;
using namespace std::chrono_literals;

namespace {

std::map<std::string, int> chosen(const Traffic& traffic, int requests, bool with_keys) {
    std::map<std::string, int> counts;
    for (int i = 0; i < requests; ++i) ++counts[traffic.choose(with_keys ? "user " + std::to_string(i) : "")];
    return counts;
}

bool is_near(int count, double expected) { return std::abs(count - expected) < 6 * std::sqrt(expected); }

using Ids = std::vector<std::string>;

}  // namespace

TEST(versions_get_their_shares_of_keys_and_of_requests_without_one) {
    const Traffic traffic{{{"1.0", 90}, {"2.0", 10}, {"3.0", 0}}, "", "", 1};
    for (const bool with_keys : {true, false}) {
        const auto counts = chosen(traffic, 20'000, with_keys);
        CHECK(counts.size() == 2 && is_near(counts.at("1.0"), 18'000) && is_near(counts.at("2.0"), 2'000));
    }
}

TEST(a_key_keeps_its_version_unless_the_new_weight_takes_it) {
    const Traffic before{{{"1.0", 90}, {"2.0", 10}}, "", "", 1}, after{{{"1.0", 50}, {"2.0", 50}}, "", "", 1};
    int moved = 0, moved_away = 0;
    for (int i = 0; i < 10'000; ++i) {
        const std::string key = std::to_string(i);
        CHECK(before.choose(key) == before.choose(key));
        if (before.choose(key) == after.choose(key)) continue;
        ++moved;
        moved_away += before.choose(key) == "2.0";
    }
    CHECK(moved_away == 0 && is_near(moved, 4'000));
}

TEST(a_share_of_the_requests_is_copied) {
    const Traffic traffic{{}, "", "2.0", 0.25};
    int copied = 0;
    for (int i = 0; i < 20'000; ++i) copied += traffic.copies();
    CHECK(is_near(copied, 5'000));
}

TEST(a_header_chooses_and_an_asked_version_is_asked) {
    const Served one, other;
    Models models;
    models.set("m", {{{"1.0", one.model}, {"2.0", other.model}}, "1.0", {{{"1.0", 1}, {"2.0", 1}}, "x-user", "", 1}});
    std::map<std::shared_ptr<ModelVersion>, int> counts;
    for (int i = 0; i < 100; ++i) {
        const std::string user = std::to_string(i);
        const auto header = [&](const std::string& name) {
            return name == "x-user" ? std::string_view(user) : std::string_view();
        };
        const auto first = std::get<Destination>(models.route("m", "", header));
        CHECK(std::get<Destination>(models.route("m", "", header)).version == first.version);
        CHECK(std::get<Destination>(models.route("m", "1.0", header)).version == one.model);
        ++counts[first.version];
    }
    CHECK(counts.size() == 2);
    CHECK(std::get<NotServed>(models.route("m", "3.0", {})).kind == NotServed::Kind::version_not_found);
}

TEST(the_version_that_is_not_there_is_named) {
    const Served one;
    Models models;
    models.set("m", {{{"1.0", one.model}}, "1.0", {{{"2.0", 1}}, "", "", 1}});
    const auto not_served = std::get<NotServed>(models.route("m", "", {}));
    CHECK(not_served.message == "Model version: 2.0 does not exist for model: m");
}

TEST(nobody_waits_for_a_copy) {
    const Served served, candidate;
    Process process, other;
    served.hire(process);
    candidate.hire(other);
    Models models;
    models.set("m", {{{"1.0", served.model}, {"2.0", candidate.model}}, "1.0", {{}, "", "2.0", 1}});
    const auto caller = std::make_shared<Caller>();
    std::get<Destination>(models.route("m", "", {})).submit(job_of(caller, "a"));
    CHECK(process.batch() == Ids{"a"});
    process.reply({{"a", "answer"}});
    CHECK(caller->bodies() == Ids{"answer"});  // while the candidate has not answered
    CHECK(other.batch() == Ids{"a"});
    other.die();
    const auto next = std::make_shared<Caller>();
    std::get<Destination>(models.route("m", "", {})).submit(job_of(next, "b"));
    CHECK(process.batch() == Ids{"b"});
    process.reply({{"b", "answer"}});
    CHECK(next->bodies() == Ids{"answer"});
    const auto named = std::get<Destination>(models.route("m", "1.0", {}));
    CHECK(named.shadow == nullptr);  // who names a version compares nothing
}

TEST(a_question_of_the_server_shares_no_batch) {
    ModelLimits limits;
    limits.batch_size = 4;
    limits.max_batch_delay = 0ms;
    const Served served(limits);
    served.model->expect_workers(1);
    const auto before = served.ask("a");
    std::string answer;
    std::thread asker([&] {
        const auto said = ask(*served.model, {{"describe", "True"}}, kLong);
        const auto body = std::get<Prediction>(said).body;
        answer.assign(reinterpret_cast<const char*>(body.data()), body.size());
    });
    while (served.model->counts().queued < 2) std::this_thread::yield();
    const auto after = served.ask("b");
    Process process;
    served.hire(process);
    CHECK(process.batch() == Ids{"a"});
    process.reply({{"a", "1"}});
    const Ids alone = process.batch();
    CHECK(alone.size() == 1 && alone[0] != "b");
    process.reply({{alone[0], "of itself"}});
    asker.join();
    CHECK(answer == "of itself");
    CHECK(process.batch() == Ids{"b"});
    process.reply({{"b", "2"}});
    CHECK(before->bodies() == Ids{"1"} && after->bodies() == Ids{"2"});
}

TEST(a_question_that_nobody_can_answer_fails) {
    const Served served;
    CHECK(std::get<Failure>(ask(*served.model, {}, kLong)).kind == Failure::Kind::no_worker);
    served.model->expect_workers(1);
    CHECK(std::get<Failure>(ask(*served.model, {}, 1ms)).kind == Failure::Kind::expired);
}

TEST(a_model_with_job_tickets_takes_what_an_idle_worker_can_begin) {
    ModelLimits limits;
    limits.only_idle = true;
    const Served served(limits);
    Process process;
    served.hire(process);
    const auto first = served.ask("a");
    CHECK(served.ask("b")->failure()->kind == Failure::Kind::queue_full);
    process.batch();
    process.reply({{"a", "1"}});
    CHECK(first->bodies() == Ids{"1"});
}

TEST(a_caller_is_taken_to_wait_no_longer_than_the_model_says) {
    ModelLimits limits;
    limits.client_timeout = 1ms;
    const Served served(limits);
    served.model->expect_workers(1);
    const auto caller = served.ask("a");
    Process process;
    const auto until = Clock::now() + 2ms;
    while (Clock::now() < until) std::this_thread::yield();
    served.hire(process);
    CHECK(caller->failure()->kind == Failure::Kind::expired);
}
