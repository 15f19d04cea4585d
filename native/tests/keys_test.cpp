// TorchServe's keys, and what requests say of themselves.
#include "inference/keys.hpp"

#include "check.hpp"
#include "inference/job_queue.hpp"
#include "inference/request_options.hpp"
#include "workers.hpp"

using namespace persia::inference;
using namespace std::chrono_literals;

namespace {

bool lets_in(const Keys& keys, std::string_view authorization, std::string_view certificate = "") {
    return keys.identity_of(authorization, certificate).has_value();
}

bool is_refused(const std::string* priority, const std::string* timeout) {
    return std::holds_alternative<std::string>(options_of(nullptr, priority, timeout));
}

std::string order_of(JobQueue& queue) {
    std::string order;
    std::vector<Job> expired;
    for (const Job& job : queue.take(100, 1 << 20, Clock::now(), expired)) order += job.request.id;
    return order;
}

Job job(const std::string& id, bool urgent) {
    Job made = workers::job_of(std::make_shared<workers::Caller>(), id);
    made.urgent = urgent;
    return made;
}

}  // namespace

TEST(a_key_lets_in_until_its_end) {
    Keys keys("inference key", false);
    CHECK(!lets_in(keys, "Bearer abcdefgh"));
    const auto now = std::chrono::system_clock::now();
    keys.set({{"abcdefgh", std::nullopt}, {"ijklmnop", now + 1h}, {"qrstuvwx", now - 1s}});
    CHECK(keys.identity_of("Bearer abcdefgh", "") == "inference key" && keys.identity_of("Bearer abcdefgh", "ctr") == "ctr");
    CHECK(lets_in(keys, "Bearer  ijklmnop") && !lets_in(keys, "Bearer qrstuvwx"));
    for (const char* other :
         {"", "abcdefgh", "bearer abcdefgh", "Basic abcdefgh", "Bearer", "Bearer ", "Bearer abcdefg", "Bearer abcdefghi"}) {
        CHECK(!lets_in(keys, other));
    }
    CHECK(keys.refusal("", "").code == persia::grpc::Code::permission_denied);
    keys.set({});
    CHECK(!lets_in(keys, "Bearer abcdefgh"));
}

TEST(a_key_goes_with_a_certificate_where_both_are_wanted) {
    Keys keys("management key", true);
    keys.set({{"abcdefgh", std::nullopt}});
    CHECK(!lets_in(keys, "Bearer abcdefgh") && lets_in(keys, "Bearer abcdefgh", "ctr") && !lets_in(keys, "", "ctr"));
}

TEST(a_refusal_says_what_has_failed) {
    const std::string_view rest = " failed. Token either incorrect, expired, or not provided correctly";
    CHECK(Keys("inference key", false).refusal("", "").message == "Token Authorization" + std::string(rest));
    CHECK(Keys("API key", false, "Authentication").refusal("", "").message == "Token Authentication" + std::string(rest));
}

TEST(ids_are_the_callers_where_they_may_stand_in_a_log) {
    for (const std::string good : {"a", "0f-A_b.c~d/e+f=g:h@i"}) CHECK(request_id_of(&good) == good);
    for (const std::string& bad :
         {std::string(), std::string("a b"), std::string("a\nb"), std::string(129, 'x'), std::string("\"")}) {
        CHECK(request_id_of(&bad) != bad && request_id_of(&bad).size() == 36);
    }
    CHECK(request_id_of(nullptr).size() == 36);
}

TEST(timeouts_and_priorities_are_read_strictly) {
    const auto timeout = [](const std::string& text) {
        return std::get<RequestOptions>(options_of(nullptr, nullptr, &text)).timeout;
    };
    CHECK(timeout("1.5") == 1500ms && timeout("2s") == 2s && timeout("1500ms") == 1500ms && timeout("0.001") == 1ms);
    for (const std::string bad : {"", "0", "-1", "1e9", "inf", "nan", "1m", "1 s", "s", "ms", "99999999", "0x5"})
        CHECK(is_refused(nullptr, &bad));
    const std::string high = "high", normal = "normal";
    CHECK(std::get<RequestOptions>(options_of(nullptr, &high, nullptr)).urgent);
    CHECK(!std::get<RequestOptions>(options_of(nullptr, &normal, nullptr)).urgent);
    for (const std::string bad : {"", "High", "1"}) CHECK(is_refused(&bad, nullptr));
}

TEST(of_two_deadlines_the_earlier_one_counts) {
    const auto now = Clock::now();
    for (const auto& [timeout, deadline, expected] : {std::tuple{2s, 1s, 1s}, {1s, 2s, 1s}}) {
        Job made = job("a", false);
        made.arrived = now;
        apply({"b", true, timeout}, now + deadline, made);
        CHECK(made.deadline == now + expected && made.request.id == "b" && made.urgent);
        CHECK(made.request.headers.size() == 1 && made.request.headers[0].first == kDeadline);
    }
}

TEST(the_urgent_go_first_and_starve_nobody) {
    JobQueue queue;
    for (const char* id : {"a", "b"}) queue.put(job(id, false));
    for (const char* id : {"1", "2", "3", "4", "5", "6", "7", "8", "9"}) queue.put(job(id, true));
    CHECK(order_of(queue) == "1234a5678b9");
    queue.put(job("c", false));
    queue.put_back(job("0", false));
    CHECK(order_of(queue) == "0c");
}
