#include "http/server.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include "grpc/connections.hpp"
#include "grpc/listen.hpp"

namespace persia::http {

namespace {

constexpr auto kLookAfterEvery = std::chrono::milliseconds(500);

}  // namespace

class Server::Core final : public ServerShared, public std::enable_shared_from_this<Core> {
  public:
    Core(const ServerLimits& all_limits, net::Reactor& with, std::shared_ptr<Service> who,
         std::shared_ptr<grpc::TlsContext> over)
        : ServerShared{all_limits, with, *who, std::make_shared<grpc::MemoryBudget>(all_limits.max_memory_bytes), {}, {}},
          who_answers_(std::move(who)), tls_(std::move(over)) {}

    std::string listen(const std::string& address) {
        auto listener = std::make_shared<Listener>(weak_from_this(), grpc::listen_at(address));
        listener->key = reactor.watch(listener);
        reactor.wait_for(listener->key, listener->socket(), EPOLLIN);
        const std::lock_guard lock(mutex_);
        listeners_.push_back(listener);
        return listener->listener.address;
    }

    void start() {
        remove = [weak = weak_from_this()](net::Reactor::Key key) {
            if (const auto core = weak.lock()) core->forget(key);
        };
        look_after_later();
    }

    void stop(std::chrono::milliseconds patience) {
        if (stopping_.exchange(true)) return;
        for (const auto& listener : listeners()) {
            ::shutdown(listener->socket(), SHUT_RDWR);
            if (listener->listener.is_unix()) unlink(listener->listener.address.c_str() + std::strlen("unix:"));
            reactor.forget(listener->key);
        }
        for (const auto& connection : connections_.all()) connection->drain();
        const auto end = Clock::now() + patience;
        while (connections_.size() != 0 && Clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(2));
        for (const auto& connection : connections_.all()) {
            connection->kill();
            forget(connection->id());
        }
    }

    std::size_t size() const { return connections_.size(); }

  private:
    struct Listener final : net::Watched {
        Listener(std::weak_ptr<Core> of, grpc::Listener made) : core(std::move(of)), listener(std::move(made)) {}
        ~Listener() override { close(listener.socket); }
        int socket() const override { return listener.socket; }
        void on_ready(std::uint32_t) override {
            if (const auto server = core.lock()) server->accept_from(*this);
        }

        const std::weak_ptr<Core> core;
        const grpc::Listener listener;
        net::Reactor::Key key = 0;
    };

    void accept_from(const Listener& from) {
        const auto take = [&](int made, std::string peer) {
            admit(made, std::move(peer), from.listener.is_unix());
            return true;
        };
        if (!stopping_ && grpc::accept_all(from.listener, take, [this] { return evict(); }) && !stopping_) {
            reactor.wait_for(from.key, from.socket(), EPOLLIN);
        }
    }

    void admit(int made, std::string peer, bool is_unix) {
        const int yes = 1;
        setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
        std::shared_ptr<ServerConnection> connection;
        try {
            auto transport = tls_ && !is_unix ? tls_->accept(made) : grpc::plain_transport(made);
            if (connections_.size() >= limits.max_connections && !evict()) return;
            connection = std::make_shared<ServerConnection>(shared_from_this(), std::move(transport), std::move(peer));
            connection->set_id(reactor.watch(connection));
        } catch (const std::exception&) {
            return;  // out of memory or descriptors; the socket is closed
        }
        connections_.add(connection);
        connection->begin();
    }

    bool evict() {
        const auto chosen = connections_.most_idle();
        if (!chosen) return false;
        chosen->kill();
        forget(chosen->id());
        return true;
    }

    void forget(net::Reactor::Key key) {
        reactor.forget(key);
        connections_.remove(key);
    }

    void look_after_later() {
        reactor.at(Clock::now() + kLookAfterEvery, [weak = weak_from_this()] {
            const auto core = weak.lock();
            if (!core || core->stopping_) return;
            const auto now = Clock::now();
            for (const auto& connection : core->connections_.all()) {
                if (!connection->look_after(now)) connection->kill();
            }
            for (const auto& listener : core->listeners()) core->reactor.wait_for(listener->key, listener->socket(), EPOLLIN);
            core->look_after_later();
        });
    }

    std::vector<std::shared_ptr<Listener>> listeners() const {
        const std::lock_guard lock(mutex_);
        return listeners_;
    }
    const std::shared_ptr<Service> who_answers_;
    const std::shared_ptr<grpc::TlsContext> tls_;
    std::atomic<bool> stopping_{false};
    grpc::Connections<ServerConnection> connections_;
    mutable std::mutex mutex_;  // over what follows
    std::vector<std::shared_ptr<Listener>> listeners_;
};

Server::Server(const ServerLimits& limits, net::Reactor& reactor, std::shared_ptr<Service> service,
               std::shared_ptr<grpc::TlsContext> tls)
    : core_(std::make_shared<Core>(limits, reactor, std::move(service), std::move(tls))) {
    core_->start();
}

Server::~Server() { core_->stop(std::chrono::milliseconds(0)); }

std::string Server::listen(const std::string& address) { return core_->listen(address); }

void Server::stop(std::chrono::milliseconds patience) { core_->stop(patience); }

std::size_t Server::connections() const { return core_->size(); }

grpc::RefusedClients::Told Server::take_refused_clients() { return core_->refused_clients.take(); }

}  // namespace persia::http
