// One server as its clients see it: whether it can be used, and the idle connections to it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "grpc/client_connection.hpp"
#include "grpc/tls.hpp"
#include "grpc/token_source.hpp"
#include "routing/epoch_window.hpp"

namespace persia::routing {

using grpc::Clock;

// Where a server is, and how it is spoken to.
struct Target {
    std::string address;                                  // `127.0.0.1:5000`, `[::1]:5000` or `unix:/path`
    std::string host = {};                                // whose certificate it has to show; empty: that of the address
    std::shared_ptr<grpc::TlsContext> tls = {};           // null: plain text
    std::shared_ptr<const grpc::TokenSource> token = {};  // null: none
    grpc::ClientLimits limits = {};
};

// What a server says of itself.
struct Health {
    bool ready = false;
    std::string state = {};
    std::string refused = {};  // why it must not be used, although it is ready; empty: it may be
    std::uint64_t version = 0, rows = 0;
    std::uint64_t server_start = 0;        // tells one start of the server from another; 0: not said
    std::uint64_t checkpoint_id = 0;       // of the one that it loaded; 0: none, or not said
    std::uint64_t checkpoint_seconds = 0;  // when training wrote it
    EpochWindow::Range epochs = {};        // that it can answer from
    bool checkpoint_by_epochs = false;     // the records of its epochs name their checkpoints

    // Whether it may be asked, as far as it alone is concerned.
    bool well() const { return ready && refused.empty(); }
};

// Those with less trouble go first.
enum class Standing {
    well,
    slow,     // it was slower than it should be, or has too much to do
    hanging,  // it has not even answered a probe
};

// Thread safety: any thread may call all of it.
class Replica {
  public:
    static constexpr std::size_t kMaxIdle = 64;                 // connections that wait for work; more are closed after use
    static constexpr std::chrono::seconds kIdleFor{60};         // after which one that was not needed is closed
    static constexpr std::chrono::milliseconds kSlowFor{1000};  // it is asked only where there is no other

    explicit Replica(Target target);
    ~Replica();
    Replica(const Replica&) = delete;
    Replica& operator=(const Replica&) = delete;

    const std::string& address() const { return target_.address; }

    // Of connections: when one of them fails, all of its generation are of no more use.
    std::uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

    // Whether it may be asked: it is well, not excluded, and not closed.
    bool usable() const { return usable_.load(std::memory_order_acquire); }
    Health health() const;
    bool well() const;
    std::string excluded() const;
    // What the server says about itself, or why it is excluded.
    std::string why_unusable() const;
    // REQUIRES: it is not usable.
    Clock::time_point unusable_since() const;

    // Those that it can answer from, as its answers and its health say.
    EpochWindow& epochs() { return epochs_; }

    Standing standing(Clock::time_point now) const;
    void mark_slow(Clock::time_point now, Clock::duration for_so_long = kSlowFor);
    void mark_hanging(Clock::time_point until);

    // Notes that a connection of that generation has failed. The server is used again once it has said that it is well. Wakes
    // the threads in wait_for_change().
    void suspect(std::uint64_t generation, const std::string& reason);

    enum class Update {
        outdated,  // a connection has failed since that generation: it was not taken
        same,
        changed,  // in what concerns those who choose between replicas: whether it is well, or its checkpoint
    };
    // What a server said when it was asked. generation: before it was asked.
    Update set_health(std::uint64_t generation, Health health);

    // It is not asked, although it is well, until this is called with an empty reason.
    void exclude(const std::string& reason);

    // True: the generation is another one, or it was closed; false: after so many seconds it is not.
    bool wait_for_change(std::uint64_t generation, double seconds) const;

    // A connection for one call, or the reason why there is none.
    struct Taken {
        std::uint64_t generation = 0;
        std::unique_ptr<grpc::ClientConnection> connection;  // idle; null: see failure
        std::string failure;
    };
    Taken take_connection();
    // It may be used again, if it can be and is of this generation. REQUIRES: idle or failed.
    void give_back(std::uint64_t generation, std::unique_ptr<grpc::ClientConnection> connection);

    // The token to be shown; empty: none.
    std::string token() const { return target_.token ? target_.token->token() : std::string(); }

    // One call, without retries: whatever its health is, and without a change to it. Waits so many seconds at most. For those
    // who look after the server.
    grpc::Reply call(std::string_view path, grpc::OutgoingMessage message, double seconds);

    // Calls that run may come to their end; it is not usable any more.
    void close();
    bool closed() const;

    std::size_t idle_connections() const;

  private:
    struct Idle {
        std::uint64_t generation;
        Clock::time_point since;
        std::unique_ptr<grpc::ClientConnection> connection;
    };

    void become(Health health);
    bool end_generation(std::uint64_t generation, const std::string& reason);
    std::deque<Idle> take_idle(Clock::time_point unused_since);

    const Target target_;
    const std::string authority_, host_;
    std::atomic<std::uint64_t> generation_ = 0;
    std::atomic<bool> usable_ = false;
    std::atomic<Clock::rep> slow_until_ = 0, hanging_until_ = 0;
    EpochWindow epochs_;

    mutable std::mutex mutex_;  // over what follows, and over changes of the generation
    mutable std::condition_variable changed_;
    Health health_;
    std::string excluded_;
    Clock::time_point unusable_since_;
    bool closed_ = false;
    std::deque<Idle> idle_;  // the last one first
};

}  // namespace persia::routing
