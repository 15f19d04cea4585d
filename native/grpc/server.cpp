#include "grpc/server.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <queue>
#include <thread>
#include <utility>

#include "grpc/connections.hpp"
#include "grpc/descriptors.hpp"
#include "grpc/dispatcher.hpp"
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
              work_, [this] { ring(help_.number); }, [this](const auto& call) { watch_deadline(call); }),
          epoll_(epoll_create1(EPOLL_CLOEXEC), "epoll"), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd"),
          help_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE), "eventfd"),
          timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), "timerfd") {
        watch(wake_.number, EPOLLIN, kWake);  // all threads are woken
        watch(help_.number, EPOLLIN, kHelp);
        watch(timer_.number, EPOLLIN | EPOLLONESHOT, kTimer);
        allow_many_descriptors();
    }

    ~Core() override {
        for (const Listener& listener : listeners_) close(listener.socket);
    }

    std::string listen(const std::string& address) {
        listeners_.push_back(listen_at(address));
        return listeners_.back().address;
    }

    void start() {
        for (std::size_t i = 0; i < listeners_.size(); ++i) {
            watch(listeners_[i].socket, EPOLLIN | EPOLLONESHOT, kFirstListener + i);
        }
        next_look_ = Clock::now() + kLookAfterEvery;
        set_timer(next_look_);
        for (std::size_t i = 0; i < turns_ + kReaders; ++i) threads_.emplace_back([this] { run(); });
    }

    void stop(std::chrono::milliseconds patience) {
        if (stopping_.exchange(true)) return;
        for (const Listener& listener : listeners_) {
            ::shutdown(listener.socket, SHUT_RDWR);  // nobody gets through from now on
            if (listener.is_unix()) unlink(listener.address.c_str() + std::strlen("unix:"));
        }
        if (threads_.empty()) return;
        const auto end = Clock::now() + patience;
        for (const auto& connection : connections_.all()) connection->begin_drain();
        wait_until_left(std::min(end, Clock::now() + kDrainNotice));
        for (const auto& connection : connections_.all()) connection->finish_drain();
        wait_until_left(end);
        for (const auto& connection : connections_.all()) {
            connection->end_calls({Code::unavailable, "the server is stopping"});
            connection->kill();
        }
        ended_ = true;
        ring(wake_.number);
        for (std::thread& thread : threads_) thread.join();
        threads_.clear();
        connections_.clear();
    }

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

    void wait_for(const ServerConnection& connection, bool writable) override {
        wait_again(connection.socket(), EPOLLIN | EPOLLRDHUP | (writable ? EPOLLOUT : 0U), connection.id());
    }

  private:
    static std::size_t turns(const ServerLimits& limits) {
        return limits.workers != 0 ? limits.workers : std::max(1U, std::thread::hardware_concurrency());
    }

    void watch(int descriptor, std::uint32_t events, std::uint64_t about) {
        epoll_event event = event_of(events, about);
        if (epoll_ctl(epoll_.number, EPOLL_CTL_ADD, descriptor, &event) != 0) fail("epoll");
    }

    void wait_again(int descriptor, std::uint32_t events, std::uint64_t about) {
        epoll_event event = event_of(events | EPOLLONESHOT, about);
        epoll_ctl(epoll_.number, EPOLL_CTL_MOD, descriptor, &event);  // fails only for one that was closed meanwhile
    }

    void run() {
        while (!ended_) {
            epoll_event event{};
            const int count = epoll_wait(epoll_.number, &event, 1, -1);
            if (count <= 0 || ended_) continue;
            if (event.data.u64 >= kFirstConnection) {
                serve(event.data.u64);
            } else if (event.data.u64 >= kFirstListener) {
                accept_from(event.data.u64 - kFirstListener);
            } else if (event.data.u64 == kTimer) {
                on_time();
            } else if (event.data.u64 == kHelp && hear(help_.number)) {
                work_.help();
            }
        }
    }

    void serve(std::uint64_t id) {
        const std::shared_ptr<ServerConnection> connection = connections_.find(id);
        if (!connection) return;
        for (bool more = true; more;) {
            ServerConnection::Served served = connection->serve();
            more = served.has_more;
            // From now on another thread may read on: the methods do not hold it up.
            if (!served.alive) connections_.remove(id);
            dispatcher_.give_out(*connection, std::move(served.events));
        }
    }

    void accept_from(std::uint64_t index) {
        if (stopping_) return;
        const int listener = listeners_[index].socket;
        for (;;) {
            sockaddr_storage address{};
            socklen_t size = sizeof(address);
            const int made = accept4(listener, reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (made < 0) {
                if (errno == EINTR || errno == ECONNABORTED) continue;
                // Out of descriptors: who is idle makes room for the next one. Nobody is: it is tried again at the next look.
                if ((errno == EMFILE || errno == ENFILE) && !evict()) return;
                break;
            }
            admit(made, text_of(address, size), listeners_[index].is_unix());
        }
        if (!stopping_) wait_again(listener, EPOLLIN, kFirstListener + index);
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
        epoll_event event =
            event_of(EPOLLIN | EPOLLRDHUP | EPOLLOUT | EPOLLONESHOT, connection->id());  // it has something to say
        if (epoll_ctl(epoll_.number, EPOLL_CTL_ADD, made, &event) != 0) connections_.remove(connection->id());
    }

    bool evict() {
        const auto longest = connections_.idle_for_longest();
        if (!longest) return false;
        longest->kill();
        connections_.remove(longest->id());
        ++evicted_;
        return true;
    }

    void wait_until_left(Clock::time_point end) {
        while (connections_.size() != 0 && Clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }

    // A call that goes on is told when its time is over.
    void watch_deadline(const std::shared_ptr<ConnectedCall>& call) {
        const auto deadline = call->info().deadline;
        if (!deadline || call->has_ended()) return;
        const std::lock_guard lock(deadlines_mutex_);
        const bool first = deadlines_.empty() || *deadline < deadlines_.top().first;
        deadlines_.emplace(*deadline, call);
        if (first) set_timer(std::min(*deadline, next_look_));
    }

    void set_timer(Clock::time_point time) {
        itimerspec when{};
        when.it_value = timespec_of(time);
        timerfd_settime(timer_.number, TFD_TIMER_ABSTIME, &when, nullptr);
    }

    void on_time() {
        hear(timer_.number);
        const auto now = Clock::now();
        std::vector<std::shared_ptr<ConnectedCall>> late;
        bool look = false;
        {
            const std::lock_guard lock(deadlines_mutex_);
            while (!deadlines_.empty() && deadlines_.top().first <= now) {
                if (auto call = deadlines_.top().second.lock()) late.push_back(std::move(call));
                deadlines_.pop();
            }
            look = now >= next_look_;
            if (look) next_look_ = now + kLookAfterEvery;
            set_timer(deadlines_.empty() ? next_look_ : std::min(next_look_, deadlines_.top().first));
        }
        wait_again(timer_.number, EPOLLIN, kTimer);
        for (const auto& call : late) call->expire();
        if (!look) return;
        for (std::size_t i = 0; i < listeners_.size() && !stopping_; ++i) {
            wait_again(listeners_[i].socket, EPOLLIN, kFirstListener + i);
        }
        for (const auto& connection : connections_.all()) {
            if (!connection->look_after(now)) connection->kill();  // whoever hears of it removes it
        }
    }

    using Deadline = std::pair<Clock::time_point, std::weak_ptr<ConnectedCall>>;
    struct Later {
        bool operator()(const Deadline& one, const Deadline& other) const { return one.first > other.first; }
    };

    const std::shared_ptr<TlsContext> tls_;
    const std::size_t turns_;
    WorkQueue work_;
    Dispatcher dispatcher_;
    const Descriptor epoll_, wake_, help_, timer_;
    std::vector<Listener> listeners_;
    std::vector<std::thread> threads_;
    std::atomic<bool> stopping_{false}, ended_{false};
    Connections connections_;
    std::atomic<std::uint64_t> next_id_{kFirstConnection}, accepted_{0}, evicted_{0};
    std::mutex deadlines_mutex_;  // over what follows
    std::priority_queue<Deadline, std::vector<Deadline>, Later> deadlines_;
    Clock::time_point next_look_;
};

Server::Server(const ServerLimits& limits, std::shared_ptr<const Guard> guard, std::shared_ptr<TlsContext> tls)
    : core_(std::make_shared<Core>(limits, std::move(guard), std::move(tls))) {}

Server::~Server() { core_->stop(std::chrono::milliseconds(0)); }

void Server::add(std::string path, std::shared_ptr<Method> method) {
    core_->methods.insert_or_assign(std::move(path), std::move(method));
}

std::string Server::listen(const std::string& address) { return core_->listen(address); }

void Server::start() { core_->start(); }

void Server::stop(std::chrono::milliseconds patience) { core_->stop(patience); }

Server::Counts Server::counts() const { return core_->counts(); }

const std::shared_ptr<MemoryBudget>& Server::budget() const { return core_->budget; }

}  // namespace persia::grpc
