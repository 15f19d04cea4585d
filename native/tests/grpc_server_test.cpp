// A server and clients whose frames are known, over sockets.
#include "check.hpp"
#include "served.hpp"

using namespace persia::grpc;

TEST(a_unary_call_is_answered) {
    Served served;
    Caller caller(served.address);
    for (const std::size_t size : {0, 1, 5, 16'384, 16'385, 300'000, 3'000'000}) {
        const auto& answer = caller.ask(kEcho, some_text(size));
        CHECK(answer.header(":status") == "200" && answer.header("content-type") == "application/grpc");
        CHECK(status_of(answer) == "0" && answer.message() == some_text(size) && answer.header("grpc-message").empty());
    }
    CHECK(served.server->counts().finished == 7);
}

TEST(calls_of_one_connection_do_not_wait_for_each_other) {
    Served served;
    Caller caller(served.address);
    const std::int32_t held = caller.call(kHold, framed("later"));
    CHECK(caller.until([&] { return served.holding->held() == 1; }));
    CHECK(caller.ask(kEcho, "now").message() == "now");
    CHECK(caller.ask(kWork, "now").message() == "now");
    served.holding->release();
    CHECK(caller.until_ended(held) && caller.streams[held].message() == "later");
}

TEST(messages_of_a_stream_are_told_in_order_and_answered) {
    Served served;
    Caller caller(served.address, 1 << 20);
    const std::int32_t stream = caller.call(kStream, "", {}, false);
    std::string expected;
    for (int i = 0; i < 3'000; ++i) {
        const std::string message = framed("message " + std::to_string(i));
        expected += message;
        caller.send_more(stream, message, false);
        caller.go_on();
    }
    CHECK(caller.until([&] { return caller.streams[stream].body.size() >= expected.size(); }));
    CHECK(!caller.streams[stream].ended);
    caller.send_more(stream, "", true);
    CHECK(caller.until_ended(stream) && status_of(caller.streams[stream]) == "0");
    CHECK(caller.streams[stream].body == expected);
}

TEST(many_messages_of_a_stream_may_come_at_once) {
    Served served;
    Caller caller(served.address, 1 << 20);
    std::string all;
    for (int i = 0; i < 10'000; ++i) all += framed("");
    const std::int32_t stream = caller.call(kStream, all);
    CHECK(caller.until_ended(stream) && status_of(caller.streams[stream]) == "0" && caller.streams[stream].body == all);
}

TEST(a_method_that_the_server_does_not_have_is_unimplemented) {
    Served served;
    Caller caller(served.address);
    CHECK(status_of(caller.ask("/test.Test/Other", "x")) == "12");
    CHECK(has(words_of(caller.streams.rbegin()->second), "expected a method of this server, got /test.Test/Other"));
    // However long its name is, and however long that is when it travels.
    const auto& answer = caller.ask("/" + std::string(30'000, '%'), "x");
    CHECK(status_of(answer) == "12" && answer.header("grpc-message").size() <= 3 * kMaxStatusBytes);
    CHECK(caller.ask(kEcho, "still there").message() == "still there");
}

TEST(an_end_that_cannot_be_sent_is_an_end) {
    Served served;
    Caller caller(served.address);
    CHECK(caller.ask(kLong, "x").reset == NGHTTP2_INTERNAL_ERROR);
    CHECK(caller.ask(kEcho, "still there").message() == "still there");
}

TEST(what_is_no_grpc_gets_an_http_status) {
    Served served;
    Caller caller(served.address);
    const auto answered = [&](const Headers& headers) {
        const std::int32_t stream = caller.begin(headers, framed("x"));
        caller.until_ended(stream);
        return caller.streams[stream].header(":status");
    };
    Headers headers = Http2Caller::headers_of(kEcho);
    headers[0].second = "GET";
    CHECK(answered(headers) == "405");
    headers[0].second = "POST";
    for (const char* type : {"text/html", "application/grpc-web", "application/grpcx", ""}) {
        headers.back().second = type;
        CHECK(answered(headers) == "415");
    }
    headers.pop_back();
    CHECK(answered(headers) == "415");
    headers.emplace_back("content-type", "");
    for (const char* type : {"application/grpc+proto", "application/grpc;x=y", "application/grpc"}) {
        headers.back().second = type;
        CHECK(answered(headers) == "200");
    }
}

TEST(a_unary_call_has_exactly_one_whole_message) {
    Served served;
    Caller caller(served.address);
    const std::pair<std::string, const char*> kBodies[] = {
        {"", "expected one message of a unary call, got none"},
        {framed("one") + framed("two"), "got more"},
        {framed("one").substr(0, 7), "got the end of the call within it"},
        {framed("one").substr(0, 3), "got the end of the call within it"},
        {"\1" + framed("one").substr(1), "without compression"},
        {"\2" + framed("one").substr(1), "begins with 0 or 1, got 2"},
    };
    for (const auto& [body, words] : kBodies) {
        const std::int32_t stream = caller.call(kEcho, body);
        CHECK(caller.until_ended(stream));
        CHECK(status_of(caller.streams[stream]) == "13" && has(words_of(caller.streams[stream]), words));
    }
    const auto& answer = caller.ask(kEcho, "x", {{"grpc-encoding", "snappy"}});
    CHECK(status_of(answer) == "12" && answer.header("grpc-accept-encoding") == "identity,gzip");
}

TEST(a_call_is_told_when_its_time_is_over) {
    Served served;
    Caller caller(served.address);
    const auto& held = caller.ask(kHold, "x", {{"grpc-timeout", "20m"}});
    CHECK(status_of(held) == "4" && has(words_of(held), "expected an answer before the deadline"));
    CHECK(served.holding->call()->has_ended());
    // One that comes too late is told as well, and is not answered.
    for (const char* path : {kEcho, kHold, kStream, kWork})
        CHECK(status_of(caller.ask(path, "x", {{"grpc-timeout", "1n"}})) == "4");
    CHECK(served.holding->held() == 1);
    // An answer that comes a moment too late is none.
    for (int i = 0; i < 50; ++i) CHECK(status_of(caller.ask(kLate, "x", {{"grpc-timeout", "1m"}})) == "4");
    // And one whose message does not come.
    for (const std::string& part : {std::string(), framed("whole").substr(0, 7)}) {
        const std::int32_t stream = caller.call(kEcho, part, {{"grpc-timeout", "20m"}}, false);
        CHECK(caller.until_ended(stream) && status_of(caller.streams[stream]) == "4");
    }
    CHECK(caller.until([&] { return served.server->counts().calls == 1; }));  // that the method has kept
    CHECK(status_of(caller.ask(kEcho, "x", {{"grpc-timeout", "soon"}})) == "13");
    CHECK(caller.ask(kEcho, "x", {{"grpc-timeout", "99999999H"}}).message() == "x");
}

TEST(a_cancelled_call_is_known_to_its_method) {
    Served served;
    Caller caller(served.address);
    const std::int32_t stream = caller.call(kHold, framed("x"));
    CHECK(caller.until([&] { return served.holding->held() == 1; }));
    CHECK(!served.holding->call()->has_ended());
    caller.reset(stream);
    CHECK(caller.until([&] { return served.holding->ended() == 1 && served.holding->ends == 1; }));
    served.holding->release();  // without effect
    CHECK(caller.ask(kEcho, "x").message() == "x");
    CHECK(served.server->counts().cancelled == 1);
}

TEST(a_lost_connection_ends_its_calls) {
    Served served;
    {
        Caller caller(served.address);
        caller.call(kHold, framed("x"));
        CHECK(caller.until([&] { return served.holding->held() == 1; }));
    }
    wait_until([&] { return served.holding->ended() == 1 && served.holding->ends == 1; });
    wait_until([&] { return served.server->counts().connections == 0; });
}

TEST(what_a_method_throws_ends_its_call_alone) {
    Served served;
    Caller caller(served.address);
    CHECK(status_of(caller.ask(kThrow, "words")) == "13");
    CHECK(status_of(caller.ask(kThrow, "number")) == "13");
    CHECK(status_of(caller.ask(kThrow, "memory")) == "8");
    for (int i = 0; i < 100; ++i) CHECK(status_of(caller.ask(kThrow, "work")) == "13");
    CHECK(caller.ask(kWork, "still there").message() == "still there");
}

TEST(calls_may_be_held_for_longer_than_the_server) {
    ServerCallPtr call;
    {
        Served served;
        Caller caller(served.address);
        caller.call(kHold, framed("x"));
        CHECK(caller.until([&] { return served.holding->held() == 1; }));
        call = served.holding->call();
        served.server.reset();
        CHECK(served.holding->ends == 1);
        served.holding->release();
    }
    CHECK(call->has_ended());
    Reservation reservation;
    CHECK(call->reserve(reservation, 100) && call->unsent() == 0);
    call->reply(OutgoingMessage("late"));
}

TEST(an_address_is_free_when_the_server_has_stopped) {
    Served first;
    Caller caller(first.address);
    caller.call(kHold, framed("x"));
    CHECK(caller.until([&] { return first.holding->held() == 1; }));
    first.server->stop(0ms);
    Server second({}, nullptr, nullptr);
    CHECK(second.listen(first.address) == first.address);
}

TEST(a_server_that_stops_lets_calls_end_and_takes_no_more) {
    Served served;
    Caller caller(served.address), idle(served.address);
    const std::int32_t held = caller.call(kHold, framed("x"));
    CHECK(caller.until([&] { return served.holding->held() == 1; }) && idle.ask(kEcho, "x").message() == "x");
    std::thread stopping([&] { served.server->stop(60s); });
    CHECK(caller.until([&] { return caller.goaway && caller.last_stream == held; }));  // the second, after our ping
    CHECK(*caller.goaway == NGHTTP2_NO_ERROR);
    CHECK(!idle.until([] { return false; }) && *idle.goaway == NGHTTP2_NO_ERROR);
    CHECK(!caller.streams[held].ended);
    served.holding->release();
    CHECK(caller.until_ended(held) && caller.streams[held].message() == "x");
    stopping.join();
    bool refused = false;
    try {
        Caller late(served.address);
    } catch (const std::runtime_error&) {
        refused = true;
    }
    CHECK(refused);
}

TEST(calls_that_outlast_the_patience_are_ended) {
    Served served;
    Caller caller(served.address);
    const std::int32_t held = caller.call(kHold, framed("x"));
    CHECK(caller.until([&] { return served.holding->held() == 1; }));
    served.server->stop(1ms);
    served.server->stop(1ms);
    CHECK(caller.until_ended(held));
    CHECK(status_of(caller.streams[held]) == "14" && has(words_of(caller.streams[held]), "the server is stopping"));
    CHECK(served.holding->ends == 1 && served.server->counts().connections == 0);
}
