#include "grpc/server.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

#include "grpc/listen.hpp"
#include "grpc/server_connection.hpp"
#include "grpc/work_queue.hpp"
#include "persia/error.hpp"

namespace persia::grpc {

namespace {

// Beside those that are at work, so that what comes is read, and refused if need be, while they are.
constexpr std::size_t kReaders = 2;
// Work of fewer bytes than this does not wait for a turn: it is done sooner than somebody else is woken.
constexpr std::size_t kQuickBytes = 192 << 10;
constexpr auto kLookAfterEvery = std::chrono::seconds(1);
// That are kept without a look whether their calls have ended.
constexpr std::size_t kFewDeadlines = 1024;
// How long a client has to answer a ping before it is taken as told that the server goes.
constexpr auto kDrainNotice = std::chrono::milliseconds(500);

// What an event of epoll is about: these, or the number of a connection.
constexpr std::uint64_t kWake = 1, kTimer = 2, kHelp = 3, kFirstListener = 16, kFirstConnection = 1 << 16;

[[noreturn]] void fail(const char* what) {
    throw IoError(what, errno, std::string(what) + ": " + std::system_category().message(errno));
}

struct Descriptor {
    explicit Descriptor(int made, const char* what) : number(made) {
        if (made < 0) fail(what);
    }
    ~Descriptor() { close(number); }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    const int number;
};

// A connection each takes one, and so does a file that is loaded meanwhile.
void allow_many_descriptors() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void ring(int event) {
    const std::uint64_t one = 1;
    while (write(event, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
}

// Whether somebody rang whom nobody else has heard.
bool hear(int event) {
    std::uint64_t count = 0;
    return read(event, &count, sizeof(count)) > 0;
}

timespec timespec_of(Clock::time_point time) {
    const auto since = time.time_since_epoch();
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(since);
    return {whole.count(), std::chrono::nanoseconds(since - whole).count()};
}

}  // namespace

class Server::Core final : public ServerShared, public std::enable_shared_from_this<Core> {
  public:
    Core(const ServerLimits& all_limits, std::shared_ptr<const Guard> who_may, std::shared_ptr<TlsContext> tls)
        : ServerShared(all_limits, std::move(who_may)), tls_(std::move(tls)), turns_(turns(all_limits)),
          work_(turns_, all_limits.longest_queue), epoll_(epoll_create1(EPOLL_CLOEXEC), "epoll"),
          wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd"),
          help_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE), "eventfd"),
          timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), "timerfd") {
        watch(wake_.number, EPOLLIN, kWake);  // all threads are woken
        watch(help_.number, EPOLLIN, kHelp);
        watch(timer_.number, EPOLLIN | EPOLLONESHOT, kTimer);
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
        {
            const std::lock_guard lock(deadlines_mutex_);
            next_look_ = Clock::now() + kLookAfterEvery;
            set_timer(next_look_);
        }
        for (std::size_t i = 0; i < turns_ + kReaders; ++i) threads_.emplace_back([this] { run(); });
    }

    // Calls, and with them what they need of this, may be held by others for longer than the server is there: so they are let
    // go here, and not with the last of them.
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
        const std::lock_guard lock(mutex_);
        connections_.clear();
    }

    void end_threads(std::chrono::milliseconds patience) {
        const auto end = Clock::now() + patience;
        for (const auto& connection : all_connections()) connection->begin_drain();
        wait_until_left(std::min(end, Clock::now() + kDrainNotice));
        for (const auto& connection : all_connections()) connection->finish_drain();
        wait_until_left(end);
        for (const auto& connection : all_connections()) {
            connection->end({Code::unavailable, "the server is stopping"});
        }
        ended_ = true;
        ring(wake_.number);
        for (std::thread& thread : threads_) thread.join();
        threads_.clear();
        // Methods that asked for it hear of all ends.
        for (const auto& connection : all_connections()) {
            for (CallEvent& event : connection->serve().events) {
                if (event.kind != CallEvent::Kind::message) tell(std::move(event));
            }
        }
    }

    Counts counts() const {
        Counts counts{};
        {
            const std::lock_guard lock(mutex_);
            counts.connections = connections_.size();
            counts.accepted = accepted_;
            counts.evicted = evicted_;
        }
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
        epoll_event event{};
        event.events = events;
        event.data.u64 = about;
        if (epoll_ctl(epoll_.number, EPOLL_CTL_ADD, descriptor, &event) != 0) fail("epoll");
    }

    void wait_again(int descriptor, std::uint32_t events, std::uint64_t about) {
        epoll_event event{};
        event.events = events | EPOLLONESHOT;
        event.data.u64 = about;
        epoll_ctl(epoll_.number, EPOLL_CTL_MOD, descriptor, &event);  // fails only for one that was closed meanwhile
    }

    void stop_listening() {
        for (const Listener& listener : listeners_) close(listener.socket);
        listeners_.clear();
    }

    void run() {
        while (!ended_) {
            epoll_event event{};
            const int count = epoll_wait(epoll_.number, &event, 1, -1);
            if (count <= 0 || ended_) continue;
            try {
                handle(event.data.u64);
            } catch (const std::exception& error) {  // there is no memory; connections that suffer from it are ended below
                std::fprintf(stderr, "a thread of the server goes on after: %s\n", error.what());
            }
        }
    }

    void handle(std::uint64_t about) {
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
        const std::shared_ptr<ServerConnection> connection = connection_of(id);
        if (!connection) return;
        try {
            for (bool more = true; more;) {
                ServerConnection::Served served = connection->serve();
                more = served.has_more;
                if (!served.alive) remove(id);
                give_out(*connection, std::move(served.events));
            }
        } catch (...) {
            connection->kill();
            wait_for(*connection, false);  // whoever hears of it removes it
            throw;
        }
    }

    // What a method throws ends its call, and not the server.
    template <class Work>
    static void tell_method(ConnectedCall& call, Work work) noexcept {
        try {
            try {
                work();
            } catch (const std::bad_alloc&) {
                call.finish({Code::resource_exhausted, "expected memory for the call, got none of the system"}, {});
            } catch (const std::exception& error) {
                std::fprintf(stderr, "a method threw: %s\n", error.what());
                call.finish({Code::internal, "internal error: see the server's log"}, {});
            } catch (...) {
                call.finish({Code::internal, "internal error"}, {});
            }
        } catch (...) {
            call.give_up();
        }
    }

    void give_out(ServerConnection& connection, std::vector<CallEvent> events) {
        if (events.empty()) return;
        if (events.size() == 1) {
            CallEvent& event = events.front();
            if (const std::size_t bytes = work_of(event); bytes < kQuickBytes) {
                tell(std::move(event));
            } else {
                work_.submit(work_for(std::move(event), bytes));
            }
            return;
        }
        // What is quick is answered here, and sent at once. What is more goes to all processors.
        std::vector<Work> rest;
        {
            const Cork cork(connection);
            std::size_t here = 0;
            for (CallEvent& event : events) {
                const std::size_t bytes = work_of(event);
                if (bytes == 0 || here + bytes < kQuickBytes) {
                    here += bytes;
                    tell(std::move(event));
                } else {
                    rest.push_back(work_for(std::move(event), bytes));
                }
            }
        }
        for (std::size_t i = 0; i + 1 < rest.size(); ++i) {
            if (work_.put(std::move(rest[i]))) ring(help_.number);
        }
        if (!rest.empty()) work_.submit(std::move(rest.back()));
    }

    static std::size_t work_of(const CallEvent& event) {
        const bool is_stream = event.call->method().takes_stream();
        return event.kind == CallEvent::Kind::message && !is_stream ? event.call->method().work_of(event.message) : 0;
    }

    void tell(CallEvent event) {
        const std::shared_ptr<ConnectedCall> call = event.call;
        if (event.kind == CallEvent::Kind::inbox) {
            while (auto next = call->next()) tell_one(std::move(*next));
        } else {
            tell_one(std::move(event));
        }
        watch_deadline(call);
    }

    static void tell_one(CallEvent event) {
        ConnectedCall& call = *event.call;
        Method& method = call.method();
        if (event.kind == CallEvent::Kind::call_end) {
            tell_method(call, [&] { method.on_call_end(event.call); });
        } else if (call.has_ended()) {
            return;
        } else if (event.kind == CallEvent::Kind::message) {
            tell_method(call, [&] { method.on_message(event.call, std::move(event.message)); });
        } else if (event.kind == CallEvent::Kind::messages_end) {
            tell_method(call, [&] { method.on_messages_end(event.call); });
        }
    }

    Work work_for(CallEvent event, std::size_t bytes) {
        const std::shared_ptr<ConnectedCall> call = event.call;
        watch_deadline(call);
        auto message = std::make_shared<ReceivedMessage>(std::move(event.message));
        return {call, bytes,
                [call, message] { tell_method(*call, [&] { call->method().on_message(call, std::move(*message)); }); }};
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
                // Out of descriptors: who is idle makes room for the next one. Else the next look is waited for.
                if ((errno == EMFILE || errno == ENFILE) && !evict()) return;
                break;
            }
            try {
                admit(made, text_of(address, size), listeners_[index].is_unix());
            } catch (const std::bad_alloc&) {
                break;  // the socket is closed, or will be when it is heard of
            }
        }
        accept_again(index);
    }

    void accept_again(std::uint64_t index) {
        if (!stopping_) wait_again(listeners_[index].socket, EPOLLIN, kFirstListener + index);
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
        std::shared_ptr<ServerConnection> connection;
        bool full = false;
        {
            const std::lock_guard lock(mutex_);
            ++accepted_;
            full = connections_.size() >= limits.max_connections;
        }
        if (full && !evict()) return;  // all are at work
        {
            const std::lock_guard lock(mutex_);
            const std::uint64_t id = next_id_++;
            connection = std::make_shared<ServerConnection>(id, shared_from_this(), std::move(transport), std::move(peer));
            connections_.emplace(id, connection);
        }
        epoll_event event{};
        event.events = EPOLLIN | EPOLLRDHUP | EPOLLOUT | EPOLLONESHOT;  // it has something to say
        event.data.u64 = connection->id();
        if (epoll_ctl(epoll_.number, EPOLL_CTL_ADD, made, &event) != 0) return remove(connection->id());
        if (stopping_) connection->begin_drain();  // it may have come too late to be told with the others
    }

    // Ends the connection that has been idle for longest. False: there is none.
    bool evict() {
        std::shared_ptr<ServerConnection> chosen;
        std::optional<ServerConnection::Idleness> most;
        for (const auto& connection : all_connections()) {
            const auto idle = connection->idleness();
            if (idle && (!most || *idle < *most)) {
                most = idle;
                chosen = connection;
            }
        }
        if (!chosen) return false;
        chosen->kill();
        serve(chosen->id());  // which removes it
        const std::lock_guard lock(mutex_);
        ++evicted_;
        return true;
    }

    std::shared_ptr<ServerConnection> connection_of(std::uint64_t id) {
        const std::lock_guard lock(mutex_);
        const auto found = connections_.find(id);
        return found == connections_.end() ? nullptr : found->second;
    }

    void remove(std::uint64_t id) {
        std::shared_ptr<ServerConnection> last;  // is destroyed, and its socket closed, without the lock
        const std::lock_guard lock(mutex_);
        const auto found = connections_.find(id);
        if (found == connections_.end()) return;
        last = std::move(found->second);
        connections_.erase(found);
    }

    std::vector<std::shared_ptr<ServerConnection>> all_connections() const {
        const std::lock_guard lock(mutex_);
        std::vector<std::shared_ptr<ServerConnection>> all;
        all.reserve(connections_.size());
        for (const auto& [id, connection] : connections_) all.push_back(connection);
        return all;
    }

    void wait_until_left(Clock::time_point end) {
        for (;;) {
            {
                const std::lock_guard lock(mutex_);
                if (connections_.empty()) return;
            }
            if (Clock::now() >= end) return;
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
    }

    // A call that goes on is told when its time is over.
    void watch_deadline(const std::shared_ptr<ConnectedCall>& call) {
        const auto deadline = call->info().deadline;
        if (!deadline || call->is_finished()) return;
        if (call->has_ended()) return call->expire();
        if (!call->begin_watch()) return;
        const std::lock_guard lock(deadlines_mutex_);
        if (deadlines_.size() >= forget_at_) forget_deadlines();
        deadlines_.emplace_back(*deadline, call);
        std::ranges::push_heap(deadlines_, Later());
        if (deadlines_.front().first == *deadline) set_timer(std::min(*deadline, next_look_));
    }

    // Of calls that have ended long before their deadlines.
    void forget_deadlines() {
        std::erase_if(deadlines_, [](const Deadline& deadline) {
            const auto call = deadline.second.lock();
            return !call || call->is_finished();
        });
        std::ranges::make_heap(deadlines_, Later());
        forget_at_ = std::max(kFewDeadlines, 2 * deadlines_.size());
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
            while (!deadlines_.empty() && deadlines_.front().first <= now) {
                if (auto call = deadlines_.front().second.lock()) late.push_back(std::move(call));
                std::ranges::pop_heap(deadlines_, Later());
                deadlines_.pop_back();
            }
            look = now >= next_look_;
            if (look) next_look_ = now + kLookAfterEvery;
            set_timer(deadlines_.empty() ? next_look_ : std::min(next_look_, deadlines_.front().first));
        }
        wait_again(timer_.number, EPOLLIN, kTimer);
        for (const auto& call : late) call->expire();
        if (!look) return;
        for (std::uint64_t i = 0; i < listeners_.size(); ++i) accept_again(i);
        for (const auto& connection : all_connections()) {
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
    const Descriptor epoll_, wake_, help_, timer_;
    std::vector<Listener> listeners_;
    std::vector<std::thread> threads_;
    std::mutex stop_mutex_;
    std::atomic<bool> stopping_{false}, ended_{false};
    mutable std::mutex mutex_;  // over what follows
    std::unordered_map<std::uint64_t, std::shared_ptr<ServerConnection>> connections_;
    std::uint64_t next_id_ = kFirstConnection;
    std::uint64_t accepted_ = 0, evicted_ = 0;
    std::mutex deadlines_mutex_;             // over what follows
    std::vector<Deadline> deadlines_;        // a heap, the soonest first
    std::size_t forget_at_ = kFewDeadlines;  // when it is so long, it is looked through
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
