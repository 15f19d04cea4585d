// An HTTP/1.1 server over real sockets.
#include <thread>

#include "http_served.hpp"

using namespace http_served;

TEST(requests_of_a_connection_are_answered_in_order) {
    const Served served;
    Client client(served);
    for (int i = 0; i < 3; ++i) {
        client.say(post("/a", "body" + std::to_string(i)));
        const std::string answer = client.hear("/a:body" + std::to_string(i));
        CHECK(answer.starts_with("HTTP/1.1 200 OK\r\n") && has(answer, "content-length: 8\r\n"));
        CHECK(has(answer, "connection: keep-alive\r\n") && has(answer, "x-method: POST\r\n"));
    }
    std::string many;
    for (int i = 0; i < 500; ++i) many += get("/" + std::to_string(i));
    client.say(many + get("/last", "Connection: close\r\n"));
    const std::string answers = client.hear_all();
    std::size_t at = 0;
    for (int i = 0; i < 500; ++i) {
        at = answers.find("\r\n\r\n/" + std::to_string(i) + ":", at);
        CHECK(at != std::string::npos);
    }
    CHECK(has(answers, "connection: close\r\n\r\n/last:"));
}

TEST(bodies_come_in_pieces_and_in_chunks) {
    const Served served;
    Client client(served);
    const std::string request =
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    for (const char byte : request) client.say({byte});
    CHECK(has(client.hear("/a:hello world"), "200 OK"));
    std::string large;
    for (int i = 0; large.size() < 3'000'000; ++i) large += std::to_string(i) + ",";
    client.say(post("/b", large + "end"));
    client.hear("/b:");
    CHECK(client.hear("end") == large + "end");
}

TEST(a_client_that_asks_whether_to_go_on_is_told) {
    const Served served;
    Client client(served);
    client.say("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    CHECK(client.hear("\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n");
    client.say("ab");
    CHECK(has(client.hear("/a:ab"), "200 OK"));
    client.say("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n");
    CHECK(client.hear_all().starts_with("HTTP/1.1 413 "));
}

TEST(an_answer_without_a_body_has_none) {
    const Served served;
    for (const std::string& ways : {std::string("/status/"), std::string("/parts/")}) {
        for (const std::string& status : {std::string("204"), std::string("304")}) {
            Client client(served);
            client.say(get(ways + status) + get("/next"));
            const std::string answer = client.hear("\r\n\r\n");
            CHECK(answer.starts_with("HTTP/1.1 " + status) && !has(answer, "content-length") && !has(answer, "chunked"));
            CHECK(client.hear("/next:").starts_with("HTTP/1.1 200 OK"));
        }
        Client client(served);
        client.say("HEAD " + ways + "200 HTTP/1.1\r\nHost: a\r\n\r\n" + get("/next"));
        CHECK(client.hear("\r\n\r\n").starts_with("HTTP/1.1 200 OK") && client.hear("/next:").starts_with("HTTP/1.1 200 OK"));
    }
}

TEST(who_does_not_speak_http_is_told_so_at_once) {
    const Served served;
    for (const std::string& begin : {std::string("GET / HTTP/1.1\nHost: a\n\n"), std::string("\x16\x03\x01\x02\x00", 5)}) {
        Client client(served);
        client.say(begin);
        CHECK(client.hear("\r\n\r\n").starts_with("HTTP/1.1 400 "));
    }
}

TEST(answers_may_be_streamed) {
    const Served served;
    Client client(served);
    client.say(get("/stream"));
    const std::string answer = client.hear("0\r\n\r\n");
    CHECK(has(answer, "transfer-encoding: chunked\r\n") && !has(answer, "content-length"));
    CHECK(answer.ends_with("\r\n\r\n3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"));
    client.say("GET /stream HTTP/1.0\r\n\r\n");
    const std::string old = client.hear_all();
    CHECK(!has(old, "chunked") && old.ends_with("connection: close\r\n\r\nonethree"));
}

TEST(heads_without_bodies_are_answered_to_head) {
    const Served served;
    Client client(served);
    client.say("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n" + get("/b"));
    const std::string answers = client.hear("/b:");
    CHECK(has(answers, "content-length: 3\r\nconnection: keep-alive\r\n\r\nHTTP/1.1 200 OK\r\n"));
}

TEST(what_is_no_request_is_refused_and_the_connection_ends) {
    const Served served;
    for (const char* bytes :
         {"nonsense\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
          "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n"}) {
        Client client(served);
        client.say(std::string(bytes) + get("/smuggled"));
        const std::string answer = client.hear_all();
        CHECK(answer.starts_with("HTTP/1.1 400 Bad Request\r\n") && has(answer, "connection: close\r\n"));
        CHECK(!has(answer, "smuggled"));
    }
    Client endless(served);
    endless.say(std::string(200'000, 'a'));
    CHECK(endless.hear_all().starts_with("HTTP/1.1 431 "));
    Client large(served);
    large.say(post("/a", std::string(7'000'000, 'x')));
    CHECK(large.hear_all().starts_with("HTTP/1.1 413 "));
}

TEST(headers_of_answers_cannot_begin_others) {
    const Served served;
    Client client(served);
    client.say(get("/later", "Connection: close\r\n"));
    served.echo->next()->respond({200, "Fine\r\nx: y", {{"a\r\nb", "c\r\nd: e"}}, {}, false});
    const std::string answer = client.hear_all();
    CHECK(has(answer, "200 Finex: y\r\nab: cd: e\r\n"));
}

TEST(a_client_that_goes_ends_its_request) {
    const Served served;
    Client client(served);
    client.say(get("/later"));
    const ExchangePtr exchange = served.echo->next();
    CHECK(!exchange->has_ended());
    client.leave();
    const auto until = Clock::now() + 20s;
    while (!exchange->has_ended() && Clock::now() < until) std::this_thread::sleep_for(1ms);
    CHECK(exchange->has_ended());
    exchange->respond({});  // has no effect
}

TEST(slow_and_silent_clients_are_given_up) {
    ServerLimits limits;
    limits.head = limits.idle = limits.stuck = 300ms;
    const Served served(limits);
    Client slow(served), silent(served), half(served);
    slow.say("GET / HTTP/1.1\r\nHo");
    half.say("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
    for (Client* client : {&slow, &silent, &half}) CHECK(client->hear_all().empty());
}

TEST(idle_connections_make_room) {
    ServerLimits limits;
    limits.max_connections = 3;
    const Served served(limits);
    Client busy(served);
    busy.say(get("/later"));
    const ExchangePtr exchange = served.echo->next();
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 10; ++i) {
        clients.push_back(std::make_unique<Client>(served));
        clients.back()->say(get("/a"));
        clients.back()->hear("/a:");
    }
    exchange->respond({200, "", {}, OutgoingMessage(std::string("still here")), false});
    CHECK(has(busy.hear("still here"), "200 OK"));
}

TEST(a_server_that_stops_lets_requests_finish) {
    Served served;
    Client busy(served), idle(served);
    idle.say(get("/a"));
    idle.hear("/a:");
    busy.say(get("/later"));
    const ExchangePtr exchange = served.echo->next();
    std::thread stopping([&] { served.server.stop(20s); });
    CHECK(idle.hear_all().empty());
    exchange->respond({200, "", {}, OutgoingMessage(std::string("done")), false});
    CHECK(has(busy.hear_all(), "\r\n\r\ndone"));
    stopping.join();
    CHECK(served.server.connections() == 0);
}

TEST(many_clients_are_answered_while_answers_come_from_other_threads) {
    constexpr int kClients = 6, kEach = 200;
    const Served served;
    std::atomic<bool> done = false;
    std::thread answering([&] {
        while (!done) {
            const ExchangePtr exchange = served.echo->next();
            if (!exchange) return;
            exchange->respond({200, "", {}, OutgoingMessage(std::string(exchange->request().text())), false});
        }
    });
    std::atomic<int> wrong = 0;
    std::vector<std::thread> clients;
    for (int i = 0; i < kClients; ++i) {
        clients.emplace_back([&served, &wrong, i] {
            Client client(served);
            for (int k = 0; k < kEach; ++k) {
                const std::string body = "<" + std::to_string(i) + "." + std::to_string(k) + ">";
                client.say(post("/later", body));
                if (!has(client.hear(body), "200 OK")) ++wrong;
            }
        });
    }
    for (std::thread& client : clients) client.join();
    done = true;
    Client last(served);
    last.say(post("/later", "last"));
    answering.join();
    CHECK(wrong == 0);
}
