#include "grpc/server.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "base/problem_lines.hpp"
#include "grpc/connections.hpp"
#include "grpc/deadlines.hpp"
#include "grpc/descriptors.hpp"
#include "grpc/dispatcher.hpp"
#include "grpc/events.hpp"
#include "grpc/listen.hpp"
#include "grpc/server_connection.hpp"
#include "grpc/work_queue.hpp"

namespace persia::grpc {

namespace {

// Beside those that are at work, so that what comes is read, and refused if need be, while they are.
constexpr std::size_t kReaders = 2;
constexpr auto kLookAfterEvery = std::chrono::seconds(1);
// How long a client has to answer a ping before it is taken as told that the server goes.
constexpr auto kDrainNotice = std::chrono::milliseconds(500);

// What an event of epoll is about: these, or the number of a connection.
constexpr std::uint64_t kWake = 1, kTimer = 2, kHelp = 3, kFirstListener = 16, kFirstConnection = 1 << 16;

}  // namespace

class Server::Core final : public ServerShared {
  public:
    Core(const ServerLimits& all_limits, std::shared_ptr<const Guard> who_may, std::shared_ptr<TlsContext> tls)
        : ServerShared(all_limits, std::move(who_may)), tls_(std::move(tls)), turns_(turns(all_limits)),
          work_(turns_, all_limits.longest_queue),
          dispatcher_(
              work_, [this] { events_.give_up_lead(); }, [this] { ring(help_.number); },
              [this](const auto& call) { watch_deadline(call); }),
          deadlines_(kLookAfterEvery), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd"),
          help_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE), "eventfd") {
        watch(wake_.number, EPOLLIN, kWake);  // all threads are woken
        watch(help_.number, EPOLLIN, kHelp);
        watch(deadlines_.descriptor(), EPOLLIN | EPOLLONESHOT, kTimer);
        allow_many_descriptors();
    }

    ~Core() override { stop_listening(); }

    std::string listen(const std::string& address) {
        listeners_.push_back(listen_at(address));
        return listeners_.back().address;
    }

    void start() {
        for (std::size_t i = 0; i < listeners_.size(); ++i) {
            watch(listeners_[i].socket, EPOLLIN | EPOLLONESHOT, kFirstListener + i);
        }
        deadlines_.start();
        for (std::size_t i = 0; i < turns_ + kReaders; ++i) threads_.emplace_back([this] { run(); });
    }

    // Calls, and with them what they need of this, may be held by others for longer than the server is there: so what they
    // would keep is let go here, and not with the last of them.
    void stop(std::chrono::milliseconds patience) {
        const std::lock_guard whole(stop_mutex_);  // who is the second waits for the first
        if (stopping_.exchange(true)) return;
        for (const Listener& listener : listeners_) {
            ::shutdown(listener.socket, SHUT_RDWR);  // nobody gets through from now on
            if (listener.is_unix()) unlink(listener.address.c_str() + std::strlen("unix:"));
        }
        if (!threads_.empty()) end_threads(patience);
        stop_listening();
        work_.drop();
        methods.clear();
        connections_.clear();
    }

    void end_threads(std::chrono::milliseconds patience) {
        const auto end = Clock::now() + patience;
        for (const auto& connection : connections_.all()) connection->begin_drain();
        wait_until_left(std::min(end, Clock::now() + kDrainNotice));
        for (const auto& connection : connections_.all()) connection->finish_drain();
        wait_until_left(end);
        end_all();
        ended_ = true;
        ring(wake_.number);
        for (std::thread& thread : threads_) thread.join();
        threads_.clear();
        end_all();  // those that came meanwhile as well
        // Methods that ask for it hear of all ends.
        for (const auto& connection : connections_.all()) dispatcher_.give_out(*connection, connection->serve().events);
    }

    void end_all() {
        for (const auto& connection : connections_.all()) connection->end({Code::unavailable, "the server is stopping"});
    }

    RefusedClients refused_clients;

    Counts counts() const {
        Counts counts{};
        counts.connections = connections_.size();
        counts.accepted = accepted_;
        counts.evicted = evicted_;
        counts.calls = calls;
        counts.queued = work_.waiting();
        counts.memory_bytes = budget->used();
        counts.finished = finished;
        counts.refused = refused + work_.counts().refused;
        counts.expired = expired + work_.counts().dropped;
        counts.cancelled = cancelled;
        return counts;
    }

    void watch_deadline(const std::shared_ptr<ConnectedCall>& call) override { deadlines_.watch(call); }
    void on_much_to_read() override { events_.give_up_lead(); }

    void wait_for(const ServerConnection& connection, bool writable) override {
        events_.watch_again(connection.socket(), EPOLLIN | EPOLLRDHUP | (writable ? EPOLLOUT : 0U), connection.id());
    }

  private:
    static std::size_t turns(const ServerLimits& limits) {
        return limits.workers != 0 ? limits.workers : std::max(1U, std::thread::hardware_concurrency());
    }

    void watch(int descriptor, std::uint32_t events, std::uint64_t about) {
        if (!events_.watch(descriptor, events, about)) fail("epoll");
    }

    void stop_listening() {
        for (const Listener& listener : listeners_) close(listener.socket);
        listeners_.clear();
    }

    void run() {
        while (!ended_) {
            const std::uint64_t about = events_.next();
            if (ended_) break;
            try {
                handle(about);
            } catch (const std::exception& error) {  // there is no memory; the connection that asked for it ends
                write_problem(std::string("a thread of the server goes on after: ") + error.what());
            }
        }
        events_.give_up_lead();
    }

    void handle(std::uint64_t about) {
        if (about < kFirstConnection) events_.give_up_lead();
        if (about >= kFirstConnection) {
            serve(about);
        } else if (about >= kFirstListener) {
            accept_from(about - kFirstListener);
        } else if (about == kTimer) {
            on_time();
        } else if (about == kHelp && hear(help_.number)) {
            work_.help();
        }
    }

    void serve(std::uint64_t id) {
        const std::shared_ptr<ServerConnection> connection = connections_.find(id);
        if (!connection) return;
        if (!connection->has_greeted()) events_.give_up_lead();  // a handshake takes a while
        try {
            for (bool more = true; more;) {
                ServerConnection::Served served = connection->serve();
                more = served.has_more;
                if (more) events_.give_up_lead();
                // From now on another thread may read on: the methods do not hold it up.
                if (!served.alive) connections_.remove(id);
                if (!served.refused.empty()) refused_clients.note(std::move(served.refused));
                dispatcher_.give_out(*connection, std::move(served.events));
            }
        } catch (...) {
            connection->kill();
            wait_for(*connection, false);  // whoever hears of it removes it
            throw;
        }
    }

    void accept_from(std::uint64_t index) {
        if (stopping_) return;
        const auto take = [&](int made, std::string peer) {
            try {
                admit(made, std::move(peer), listeners_[index].is_unix());
            } catch (const std::bad_alloc&) {
                return false;  // the socket is closed, or will be when it is heard of
            }
            return true;
        };
        if (accept_all(listeners_[index], take, [this] { return evict(); })) accept_again(index);
    }

    void accept_again(std::uint64_t index) {
        if (!stopping_) events_.watch_again(listeners_[index].socket, EPOLLIN, kFirstListener + index);
    }

    void admit(int made, std::string peer, bool is_unix) {
        const int yes = 1;
        setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
        setsockopt(made, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
        const auto stuck = static_cast<unsigned>(std::chrono::milliseconds(limits.stuck).count());
        setsockopt(made, IPPROTO_TCP, TCP_USER_TIMEOUT, &stuck, sizeof(stuck));
        std::unique_ptr<Transport> transport;
        try {
            transport = tls_ && !is_unix ? tls_->accept(made) : plain_transport(made);
        } catch (const std::exception&) {
            return;  // out of memory; the socket is closed
        }
        ++accepted_;
        if (connections_.size() >= limits.max_connections && !evict()) return;  // all are at work
        const auto connection = std::make_shared<ServerConnection>(next_id_++, *this, std::move(transport), std::move(peer));
        connections_.add(connection);
        const std::uint32_t events = EPOLLIN | EPOLLRDHUP | EPOLLOUT | EPOLLONESHOT;  // it has something to say
        if (!events_.watch(made, events, connection->id())) return connections_.remove(connection->id());
        if (stopping_) connection->begin_drain();  // it may have come too late to be told with the others
    }

    bool evict() {
        const auto chosen = connections_.most_idle();
        if (!chosen) return false;
        chosen->end({Code::unavailable, "the server makes room for others"});
        serve(chosen->id());  // which removes it
        ++evicted_;
        return true;
    }

    void wait_until_left(Clock::time_point end) {
        while (connections_.size() != 0 && Clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }

    void on_time() {
        const auto now = Clock::now();
        const Deadlines::Due due = deadlines_.on_time(now);
        events_.watch_again(deadlines_.descriptor(), EPOLLIN, kTimer);
        for (const auto& call : due.late) call->expire();
        if (!due.look) return;
        for (std::uint64_t i = 0; i < listeners_.size(); ++i) accept_again(i);
        for (const auto& connection : connections_.all()) {
            if (!connection->look_after(now)) connection->kill();  // whoever hears of it removes it
        }
    }

    const std::shared_ptr<TlsContext> tls_;
    const std::size_t turns_;
    WorkQueue work_;
    Dispatcher dispatcher_;
    Deadlines deadlines_;
    Events events_;
    const Descriptor wake_, help_;
    std::vector<Listener> listeners_;
    std::vector<std::thread> threads_;
    std::mutex stop_mutex_;
    std::atomic<bool> stopping_{false}, ended_{false};
    Connections<ServerConnection> connections_;
    std::atomic<std::uint64_t> next_id_{kFirstConnection}, accepted_{0}, evicted_{0};
};

Server::Server(const ServerLimits& limits, std::shared_ptr<const Guard> guard, std::shared_ptr<TlsContext> tls)
    : core_(std::make_shared<Core>(limits, std::move(guard), std::move(tls))) {}

Server::~Server() { core_->stop(std::chrono::milliseconds(0)); }

void Server::add(std::string path, std::shared_ptr<Method> method) {
    core_->methods.insert_or_assign(std::move(path), std::move(method));
}

void Server::set_observer(std::shared_ptr<CallObserver> observer) { core_->observer = std::move(observer); }

std::string Server::listen(const std::string& address) { return core_->listen(address); }

void Server::start() { core_->start(); }

void Server::stop(std::chrono::milliseconds patience) { core_->stop(patience); }

Server::Counts Server::counts() const { return core_->counts(); }

RefusedClients::Told Server::take_refused_clients() { return core_->refused_clients.take(); }

const std::shared_ptr<MemoryBudget>& Server::budget() const { return core_->budget; }

}  // namespace persia::grpc
