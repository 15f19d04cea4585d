// An HTTP/1.1 server, and clients that say what they are told to, whatever that is.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "check.hpp"
#include "http/server.hpp"

namespace http_served {

using namespace persia::http;
using namespace std::chrono_literals;
using persia::grpc::OutgoingMessage;

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
        } else if (path.starts_with("/status/")) {
            exchange->respond({std::stoi(path.substr(8)), "", {}, OutgoingMessage(std::string("a body")), false});
        } else if (path.starts_with("/parts/")) {
            exchange->begin({std::stoi(path.substr(7)), "", {}, {}, false});
            exchange->send(OutgoingMessage(std::string("a body")));
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

inline std::string get(const std::string& path, const std::string& headers = "") {
    return "GET " + path + " HTTP/1.1\r\nHost: a\r\n" + headers + "\r\n";
}
inline std::string post(const std::string& path, const std::string& body) {
    return "POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}
inline bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace http_served
