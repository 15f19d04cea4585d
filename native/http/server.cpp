#include "http/server.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include "grpc/listen.hpp"

namespace persia::http {

namespace {

constexpr auto kLookAfterEvery = std::chrono::milliseconds(500);

}  // namespace

class Server::Core final : public ServerShared, public std::enable_shared_from_this<Core> {
  public:
    Core(const ServerLimits& all_limits, net::Reactor& with, std::shared_ptr<Service> who,
         std::shared_ptr<grpc::TlsContext> over)
        : ServerShared{all_limits, with, *who, std::make_shared<grpc::MemoryBudget>(all_limits.max_memory_bytes), {}},
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
        for (const auto& connection : all()) connection->drain();
        const auto end = Clock::now() + patience;
        while (size() != 0 && Clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(2));
        for (const auto& connection : all()) connection->kill();
        for (const auto key : keys()) forget(key);
    }

    std::size_t size() const {
        const std::lock_guard lock(mutex_);
        return connections_.size();
    }

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
        while (!stopping_) {
            sockaddr_storage address{};
            socklen_t size = sizeof(address);
            const int made = accept4(from.socket(), reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (made < 0) {
                if (errno == EINTR || errno == ECONNABORTED) continue;
                // Out of descriptors: who is idle makes room; else it is tried again at the next look.
                if ((errno == EMFILE || errno == ENFILE) && !evict()) return;
                break;
            }
            admit(made, grpc::text_of(address, size), from.listener.is_unix());
        }
        if (!stopping_) reactor.wait_for(from.key, from.socket(), EPOLLIN);
    }

    void admit(int made, std::string peer, bool is_unix) {
        const int yes = 1;
        setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
        std::shared_ptr<ServerConnection> connection;
        net::Reactor::Key key = 0;
        try {
            auto transport = tls_ && !is_unix ? tls_->accept(made) : grpc::plain_transport(made);
            if (size() >= limits.max_connections && !evict()) return;
            connection = std::make_shared<ServerConnection>(shared_from_this(), std::move(transport), std::move(peer));
            key = reactor.watch(connection);
        } catch (const std::exception&) {
            return;  // out of memory or descriptors; the socket is closed
        }
        {
            const std::lock_guard lock(mutex_);
            connections_.emplace(key, connection);
        }
        connection->begin(key);
    }

    bool evict() {
        std::shared_ptr<ServerConnection> longest;
        auto since = Clock::time_point::max();
        for (const auto& connection : all()) {
            const auto idle = connection->idle_since();
            if (idle && *idle < since) {
                since = *idle;
                longest = connection;
            }
        }
        if (!longest) return false;
        longest->kill();  // whoever hears of it forgets it
        return true;
    }

    void forget(net::Reactor::Key key) {
        reactor.forget(key);
        std::shared_ptr<ServerConnection> last;
        const std::lock_guard lock(mutex_);
        const auto found = connections_.find(key);
        if (found == connections_.end()) return;
        last = std::move(found->second);
        connections_.erase(found);
    }

    void look_after_later() {
        reactor.at(Clock::now() + kLookAfterEvery, [weak = weak_from_this()] {
            const auto core = weak.lock();
            if (!core || core->stopping_) return;
            const auto now = Clock::now();
            for (const auto& connection : core->all()) {
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
    std::vector<std::shared_ptr<ServerConnection>> all() const {
        const std::lock_guard lock(mutex_);
        std::vector<std::shared_ptr<ServerConnection>> all;
        for (const auto& [key, connection] : connections_) all.push_back(connection);
        return all;
    }
    std::vector<net::Reactor::Key> keys() const {
        const std::lock_guard lock(mutex_);
        std::vector<net::Reactor::Key> keys;
        for (const auto& [key, connection] : connections_) keys.push_back(key);
        return keys;
    }

    const std::shared_ptr<Service> who_answers_;
    const std::shared_ptr<grpc::TlsContext> tls_;
    std::atomic<bool> stopping_{false};
    mutable std::mutex mutex_;  // over what follows
    std::vector<std::shared_ptr<Listener>> listeners_;
    std::unordered_map<net::Reactor::Key, std::shared_ptr<ServerConnection>> connections_;
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

}  // namespace persia::http
