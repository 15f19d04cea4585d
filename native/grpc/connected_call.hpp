// A call that has come over a connection, and what the connections of a server share.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "grpc/guard.hpp"
#include "grpc/server.hpp"
#include "grpc/server_call.hpp"

namespace persia::grpc {

class ConnectedCall;
class ServerConnection;

// What the calls of all connections share. Thread safety: any thread may call what is no plain value.
struct ServerShared : std::enable_shared_from_this<ServerShared> {
    ServerShared(const ServerLimits& all_limits, std::shared_ptr<const Guard> who_may)
        : limits(all_limits), guard(std::move(who_may)), budget(std::make_shared<MemoryBudget>(all_limits.max_memory_bytes)) {}
    virtual ~ServerShared() = default;

    // Waits for the connection's socket: until it can be read, or written too. Called with the connection's lock, so that
    // what was said last is what counts.
    virtual void wait_for(const ServerConnection& connection, bool writable) = 0;
    // Ends the call when its time is over. May be called with the connection's lock.
    virtual void watch_deadline(const std::shared_ptr<ConnectedCall>& call) = 0;
    // What a thread reads will take it a while.
    virtual void on_much_to_read() = 0;

    const ServerLimits limits;
    const std::shared_ptr<const Guard> guard;
    const std::shared_ptr<MemoryBudget> budget;
    std::map<std::string, std::shared_ptr<Method>, std::less<>> methods;  // as it was at the start, until the end
    std::shared_ptr<CallObserver> observer;                               // null: nobody wants to know

    std::atomic<std::size_t> calls{0};
    std::atomic<std::uint64_t> finished{0}, refused{0}, expired{0}, cancelled{0};
};

// What a method is to be told, outside of the connection's lock.
struct CallEvent {
    enum class Kind { message, messages_end, call_end };

    std::shared_ptr<ConnectedCall> call;
    Kind kind;
    ReceivedMessage message;
};

class ConnectedCall final : public ServerCall, public std::enable_shared_from_this<ConnectedCall> {
  public:
    ConnectedCall(std::weak_ptr<ServerConnection> connection, std::int32_t stream, std::shared_ptr<ServerShared> shared,
                  std::string peer);
    ~ConnectedCall() override;

    const CallInfo& info() const override { return info_; }
    bool has_ended() const override;
    void send(OutgoingMessage message) override;
    void add_trailer(std::string key, std::string value) override;
    void finish(Status status, Metadata trailers) override;
    void reply(OutgoingMessage message) override;
    std::size_t unsent() const override;
    void when_unsent_below(std::size_t bytes, std::function<void()> tell) override;
    bool reserve(Reservation& reservation, std::size_t bytes) override;

    // Its time is over.
    void expire();
    // Whether its end was told, or is not to be told any more.
    bool is_finished() const { return ended_; }
    // Whether this is the first time that it is asked.
    bool begin_watch() { return !watched_.exchange(true); }

    Method& method() const { return *method_; }

    // Events of a stream, in the order in which they came: added with the connection's lock, and handed out by one thread at a
    // time, until next() has none.
    // turn: what comes in one is taken as long as there was room before it. False: there was none.
    bool add(CallEvent event, std::uint64_t turn);
    static Status too_many_messages();
    bool begin_to_hand_out();  // false: there are none, or another thread does
    std::optional<CallEvent> next();

  private:
    friend class ServerConnection;

    void put_message(const OutgoingMessage& message, bool last);
    // With the connection's lock.
    void put_headers(ServerConnection& connection);
    void put_end(ServerConnection& connection, const Status& status, const Metadata& trailers);
    void end(ServerConnection& connection);
    bool end_if_late(ServerConnection& connection);
    std::optional<Status> check(const ServerConnection& connection);
    bool keep_header(std::size_t bytes);
    bool has_all_headers() const;
    bool is_whole() const;
    bool is_stuck(Clock::time_point now, std::chrono::seconds patience);
    void tell_of_room(ServerConnection& connection);

    const std::weak_ptr<ServerConnection> connection_;
    const std::int32_t stream_;
    const std::shared_ptr<ServerShared> shared_;  // somebody may keep a call for longer than there is a server
    CallInfo info_;
    Method* method_ = nullptr;
    MessageReader reader_;
    std::atomic<bool> ended_{false}, watched_{false};
    // By the connection's lock:
    bool headers_complete_ = false, headers_sent_ = false, got_message_ = false, got_end_ = false;
    bool given_ = false;        // to its method
    bool answer_sent_ = false;  // to its end
    std::size_t header_bytes_ = 0;
    Reservation header_memory_;
    bool has_header_memory_ = true;
    std::size_t progress_ = 0;  // bytes of a message that had come
    std::optional<Clock::time_point> last_progress_;
    std::string http_method_, content_type_, encoding_, timeout_, authorization_;
    std::size_t authorizations_ = 0;  // headers of that name
    Metadata trailers_;
    std::size_t room_below_ = 0;
    std::function<void()> tell_;              // when less than that is unsent; null: nobody
    std::optional<ReceivedMessage> request_;  // of a unary call, until the client has no more
    // By its own:
    std::mutex inbox_mutex_;
    std::deque<CallEvent> inbox_;
    std::uint64_t last_turn_ = 0;
    bool inbox_full_ = false;  // since before that turn
    bool handing_out_ = false;
};

}  // namespace persia::grpc
