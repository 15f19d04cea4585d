// An HTTP/1.1 server over real sockets.
#include "http/server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <condition_variable>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"

using namespace persia::http;
using namespace std::chrono_literals;
using persia::grpc::OutgoingMessage;

namespace {

// Answers with what was asked; paths begin with what is to happen.
class Echo final : public Service {
  public:
    void on_request(const ExchangePtr& exchange) override {
        const Request& request = exchange->request();
        const std::string path = request.target.path;
        if (path == "/later") {
            const std::lock_guard lock(mutex_);
            waiting_.push_back(exchange);
            came_.notify_all();
        } else if (path == "/stream") {
            exchange->begin({200, "", {{"a", "b"}}, {}, false});
            for (const char* part : {"one", "", "three"}) exchange->send(OutgoingMessage(std::string(part)));
            exchange->end();
        } else if (path == "/close") {
            exchange->respond({404, "", {}, OutgoingMessage(std::string("none")), true});
        } else {
            exchange->respond({200,
                               "",
                               {{"x-method", request.head.method}},
                               OutgoingMessage(path + ":" + std::string(request.text())),
                               false});
        }
    }
    Response refuse(const Refusal& refusal) const override {
        return {refusal.status, "", {}, OutgoingMessage(refusal.message), true};
    }

    ExchangePtr next() {
        std::unique_lock lock(mutex_);
        if (!came_.wait_for(lock, 20s, [this] { return !waiting_.empty(); })) return nullptr;
        ExchangePtr exchange = waiting_.front();
        waiting_.erase(waiting_.begin());
        return exchange;
    }

  private:
    std::mutex mutex_;
    std::condition_variable came_;
    std::vector<ExchangePtr> waiting_;
};

struct Served {
    explicit Served(const ServerLimits& limits = {}) : server(limits, reactor, echo, nullptr) {
        reactor.start(2);
        address = server.listen("127.0.0.1:0");
    }
    ~Served() {
        server.stop(0ms);
        reactor.stop();
    }

    persia::net::Reactor reactor;
    const std::shared_ptr<Echo> echo = std::make_shared<Echo>();
    Server server;
    std::string address;
};

// A client that says what it is told to, whatever that is.
class Client {
  public:
    explicit Client(const Served& served) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(served.address.substr(served.address.rfind(':') + 1))));
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        CHECK(connect(socket_, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0);
        const timeval patience{20, 0};
        setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    }
    ~Client() { close(socket_); }

    void say(const std::string& bytes) const {
        for (std::size_t sent = 0; sent < bytes.size();) {
            const ssize_t part = send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
            if (part <= 0) return;
            sent += static_cast<std::size_t>(part);
        }
    }
    // What comes until it ends with `end`; all of it, if the server closes first.
    std::string hear(const std::string& end) {
        while (heard_.find(end) == std::string::npos) {
            char buffer[4096];
            const ssize_t got = recv(socket_, buffer, sizeof(buffer), 0);
            if (got <= 0) return std::exchange(heard_, {});
            heard_.append(buffer, static_cast<std::size_t>(got));
        }
        const std::size_t until = heard_.find(end) + end.size();
        std::string text = heard_.substr(0, until);
        heard_.erase(0, until);
        return text;
    }
    std::string hear_all() { return hear(std::string(1, '\0') + "never"); }
    void leave() const { shutdown(socket_, SHUT_RDWR); }

  private:
    const int socket_;
    std::string heard_;
};

std::string get(const std::string& path, const std::string& headers = "") {
    return "GET " + path + " HTTP/1.1\r\nHost: a\r\n" + headers + "\r\n";
}
std::string post(const std::string& path, const std::string& body) {
    return "POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

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
    const std::string large(3'000'000, 'x');
    client.say(post("/b", large));
    CHECK(has(client.hear("/b:"), "content-length: 3000003\r\n"));
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
