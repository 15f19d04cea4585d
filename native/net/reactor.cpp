#include "net/reactor.hpp"

#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <cerrno>
#include <tuple>
#include <utility>

namespace persia::net {

namespace {

// What an event is about: these, or somebody who is watched.
constexpr Reactor::Key kWake = 1, kAlarm = 2, kFirst = 16;

}  // namespace

Reactor::Reactor()
    : epoll_(epoll_create1(EPOLL_CLOEXEC), "epoll"), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd"),
      alarm_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), "timerfd"), last_key_(kFirst) {
    // All threads are woken at the end, one of them by the alarm.
    for (const auto& [descriptor, events, key] :
         {std::tuple{wake_.number, std::uint32_t{EPOLLIN}, kWake}, {alarm_.number, EPOLLIN | EPOLLONESHOT, kAlarm}}) {
        epoll_event event = grpc::event_of(events, key);
        if (epoll_ctl(epoll_.number, EPOLL_CTL_ADD, descriptor, &event) != 0) grpc::fail("epoll");
    }
}

Reactor::~Reactor() { stop(); }

void Reactor::start(std::size_t threads) {
    for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
}

void Reactor::stop() {
    if (stopping_.exchange(true)) return;
    grpc::ring(wake_.number);
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    std::unordered_map<Key, std::shared_ptr<Watched>> last;  // they go without the lock
    const std::lock_guard lock(mutex_);
    last.swap(watched_);
}

Reactor::Key Reactor::watch(std::shared_ptr<Watched> watched) {
    const std::lock_guard lock(mutex_);
    const Key key = ++last_key_;
    watched_.emplace(key, std::move(watched));
    return key;
}

// The system learns of a socket here: whoever is added to its list is told of the end of a connection at once.
void Reactor::wait_for(Key key, int socket, std::uint32_t events) {
    epoll_event event = grpc::event_of(events | EPOLLONESHOT, key);
    if (epoll_ctl(epoll_.number, EPOLL_CTL_MOD, socket, &event) == 0 || errno != ENOENT) return;  // or it was closed meanwhile
    if (epoll_ctl(epoll_.number, EPOLL_CTL_ADD, socket, &event) == 0 || errno == EEXIST) return;
    constexpr auto kSoon = std::chrono::milliseconds(10);  // the system has no memory for it
    at(Clock::now() + kSoon, [this, key, events] {
        if (const auto watched = find(key)) wait_for(key, watched->socket(), events);
    });
}

void Reactor::forget(Key key) {
    std::shared_ptr<Watched> last;  // goes, and closes its socket, without the lock
    const std::lock_guard lock(mutex_);
    const auto found = watched_.find(key);
    if (found == watched_.end()) return;
    last = std::move(found->second);
    watched_.erase(found);
    epoll_ctl(epoll_.number, EPOLL_CTL_DEL, last->socket(), nullptr);
}

void Reactor::at(Clock::time_point time, std::function<void()> tell) {
    const std::lock_guard lock(mutex_);
    const bool is_next = timers_.empty() || time < timers_.top().time;
    timers_.push({time, ++timers_made_, std::make_shared<std::function<void()>>(std::move(tell))});
    if (is_next) set_alarm(time);
}

void Reactor::run() {
    while (!stopping_) {
        epoll_event event{};
        if (epoll_wait(epoll_.number, &event, 1, -1) <= 0 || stopping_) continue;
        if (event.data.u64 == kAlarm) {
            tell_of_time();
        } else if (event.data.u64 != kWake) {
            if (const auto watched = find(event.data.u64)) watched->on_ready(event.events);
        }
    }
}

void Reactor::tell_of_time() {
    grpc::hear(alarm_.number);
    const auto now = Clock::now();
    std::vector<std::shared_ptr<std::function<void()>>> due;
    {
        const std::lock_guard lock(mutex_);
        while (!timers_.empty() && timers_.top().time <= now) {
            due.push_back(timers_.top().tell);
            timers_.pop();
        }
        if (!timers_.empty()) set_alarm(timers_.top().time);
    }
    wait_for(kAlarm, alarm_.number, EPOLLIN);
    for (const auto& tell : due) (*tell)();
}

void Reactor::set_alarm(Clock::time_point time) {
    itimerspec when{};
    when.it_value = grpc::timespec_of(time);
    timerfd_settime(alarm_.number, TFD_TIMER_ABSTIME, &when, nullptr);
}

std::shared_ptr<Watched> Reactor::find(Key key) const {
    const std::lock_guard lock(mutex_);
    const auto found = watched_.find(key);
    return found == watched_.end() ? nullptr : found->second;
}

}  // namespace persia::net
