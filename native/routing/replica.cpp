#include "routing/replica.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "grpc/connect.hpp"
#include "grpc/wait.hpp"

namespace persia::routing {

namespace {

constexpr double kLongest = 1e6;  // seconds: more than anybody waits

Clock::duration duration_of(double seconds) {
    return std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(seconds > 0 ? std::min(seconds, kLongest) : 0));
}

// Before that time; 0: never.
bool is_before(Clock::time_point now, const std::atomic<Clock::rep>& until) {
    return now.time_since_epoch().count() < until.load(std::memory_order_relaxed);
}

void extend(std::atomic<Clock::rep>& until, Clock::time_point to) {
    const Clock::rep wanted = to.time_since_epoch().count();
    if (until.load(std::memory_order_relaxed) < wanted) until.store(wanted, std::memory_order_relaxed);
}

// The name that a certificate stands for, and the server knows itself by.
std::string authority_of(const Target& target) {
    if (target.address.starts_with("unix:")) return target.host.empty() ? "localhost" : target.host;
    return target.host.empty() ? target.address : target.host + target.address.substr(target.address.rfind(':'));
}

}  // namespace

Replica::Replica(Target target)
    : target_(std::move(target)), authority_(authority_of(target_)),
      host_(target_.host.empty() ? grpc::host_of(target_.address) : target_.host), unusable_since_(Clock::now()) {
    health_.state = "not reached yet";
}

Replica::~Replica() = default;

Health Replica::health() const {
    const std::scoped_lock lock(mutex_);
    return health_;
}

bool Replica::well() const {
    const std::scoped_lock lock(mutex_);
    return health_.well();
}

std::string Replica::excluded() const {
    const std::scoped_lock lock(mutex_);
    return excluded_;
}

std::string Replica::why_unusable() const {
    const std::scoped_lock lock(mutex_);
    if (!health_.refused.empty()) return health_.refused;
    return health_.well() && !excluded_.empty() ? excluded_ : health_.state;
}

Clock::time_point Replica::unusable_since() const {
    const std::scoped_lock lock(mutex_);
    return unusable_since_;
}

Standing Replica::standing(Clock::time_point now) const {
    if (is_before(now, hanging_until_)) return Standing::hanging;
    return is_before(now, slow_until_) ? Standing::slow : Standing::well;
}

void Replica::mark_slow(Clock::time_point now, Clock::duration for_so_long) { extend(slow_until_, now + for_so_long); }

void Replica::mark_hanging(Clock::time_point until) { extend(hanging_until_, until); }

void Replica::suspect(std::uint64_t generation, const std::string& reason) { end_generation(generation, reason); }

// False: it has ended before.
bool Replica::end_generation(std::uint64_t generation, const std::string& reason) {
    std::deque<Idle> ended;  // closed without the lock
    {
        const std::scoped_lock lock(mutex_);
        if (generation != generation_.load(std::memory_order_relaxed)) return false;
        generation_.store(generation + 1, std::memory_order_release);
        ended.swap(idle_);
        Health health = health_;
        health.ready = false;
        health.state = reason;
        become(std::move(health));
    }
    changed_.notify_all();
    return true;
}

Replica::Update Replica::set_health(std::uint64_t generation, Health health) {
    const std::deque<Idle> unused = take_idle(Clock::now() - kIdleFor);
    epochs_.note(health.server_start, health.epochs);
    const std::scoped_lock lock(mutex_);
    if (closed_ || generation != generation_.load(std::memory_order_relaxed)) return Update::outdated;
    const bool same = health.well() == health_.well() && health.checkpoint_id == health_.checkpoint_id &&
                      health.checkpoint_by_epochs == health_.checkpoint_by_epochs;
    become(std::move(health));
    return same ? Update::same : Update::changed;
}

void Replica::exclude(const std::string& reason) {
    const std::scoped_lock lock(mutex_);
    excluded_ = reason;
    become(health_);
}

// REQUIRES: the lock.
void Replica::become(Health health) {
    const bool was_usable = usable_.load(std::memory_order_relaxed);
    const bool is_usable = health.well() && excluded_.empty() && !closed_;
    health_ = std::move(health);
    if (was_usable && !is_usable) unusable_since_ = Clock::now();
    usable_.store(is_usable, std::memory_order_release);
}

bool Replica::wait_for_change(std::uint64_t generation, double seconds) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, duration_of(seconds),
                             [&] { return closed_ || generation_.load(std::memory_order_relaxed) != generation; });
}

Replica::Taken Replica::take_connection() {
    for (;;) {
        Idle idle;
        {
            const std::scoped_lock lock(mutex_);
            if (idle_.empty()) break;
            idle = std::move(idle_.front());
            idle_.pop_front();
        }
        if (idle.connection->is_usable()) return {idle.generation, std::move(idle.connection), ""};
    }
    Taken taken;
    taken.generation = generation();
    try {
        taken.connection = std::make_unique<grpc::ClientConnection>(grpc::connect(target_.address, target_.tls.get(), host_),
                                                                    authority_, target_.limits, target_.tls != nullptr);
    } catch (const Error& error) {
        taken.failure = error.what();
    }
    return taken;
}

void Replica::give_back(std::uint64_t generation, std::unique_ptr<grpc::ClientConnection> connection) {
    if (connection->state() != grpc::ClientConnection::State::idle) return;
    std::unique_ptr<grpc::ClientConnection> last;  // closed without the lock
    const std::scoped_lock lock(mutex_);
    if (closed_ || generation != generation_.load(std::memory_order_relaxed)) return;
    Idle idle{generation, Clock::now(), std::move(connection)};
    if (idle.connection->waits_for_pong()) {
        idle_.push_back(std::move(idle));  // it has time
    } else {
        idle_.push_front(std::move(idle));
    }
    if (idle_.size() <= kMaxIdle) return;
    last = std::move(idle_.back().connection);
    idle_.pop_back();
}

// Those that were not used since.
std::deque<Replica::Idle> Replica::take_idle(Clock::time_point unused_since) {
    std::deque<Idle> unused;
    const std::scoped_lock lock(mutex_);
    while (!idle_.empty() && idle_.back().since <= unused_since) {
        unused.push_back(std::move(idle_.back()));
        idle_.pop_back();
    }
    return unused;
}

grpc::Reply Replica::call(std::string_view path, grpc::OutgoingMessage message, double seconds) {
    const Clock::time_point end = Clock::now() + duration_of(seconds);
    Taken taken = take_connection();
    grpc::Reply reply;
    if (!taken.connection) {
        reply.status = grpc::Status(grpc::Code::unavailable, std::move(taken.failure));
        return reply;
    }
    grpc::ClientConnection& connection = *taken.connection;
    connection.begin({.path = path, .message = std::move(message), .token = token(), .deadline = end});
    grpc::ClientConnection* const waiting[] = {&connection};
    while (!connection.has_ended() && Clock::now() < end) grpc::wait_any(waiting, end);
    if (connection.has_ended()) {
        reply = connection.take();
        give_back(taken.generation, std::move(taken.connection));
        return reply;
    }
    // One that is too busy for a word has a system that takes connections all the same.
    reply.status = connection.is_connected() ? grpc::Status(grpc::Code::deadline_exceeded, "it did not answer in time")
                                             : grpc::Status(grpc::Code::unavailable, "it could not be connected to in time");
    return reply;
}

void Replica::close() {
    std::deque<Idle> ended;
    {
        const std::scoped_lock lock(mutex_);
        closed_ = true;
        generation_.fetch_add(1, std::memory_order_release);
        ended.swap(idle_);
        Health health = health_;
        health.ready = false;
        health.state = "closed";
        become(std::move(health));
    }
    changed_.notify_all();
}

bool Replica::closed() const {
    const std::scoped_lock lock(mutex_);
    return closed_;
}

std::size_t Replica::idle_connections() const {
    const std::scoped_lock lock(mutex_);
    return idle_.size();
}

}  // namespace persia::routing
