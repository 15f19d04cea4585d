// One client of a server, and its calls.
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
#include <unordered_map>
#include <vector>

#include "grpc/guard.hpp"
#include "grpc/http2.hpp"
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

    const ServerLimits limits;
    const std::shared_ptr<const Guard> guard;
    const std::shared_ptr<MemoryBudget> budget;
    std::map<std::string, std::shared_ptr<Method>, std::less<>> methods;  // as it was at the start

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

// Thread safety: any thread may call all of it. Each holds the connection's lock.
class ServerConnection final : public std::enable_shared_from_this<ServerConnection>, private Http2 {
  public:
    ServerConnection(std::uint64_t id, ServerShared& shared, std::unique_ptr<Transport> transport, std::string peer);

    std::uint64_t id() const { return id_; }
    int socket() const { return Http2::socket(); }

    struct Served {
        bool alive;                     // else it is of no more use
        bool has_more;                  // to read, of which the socket does not tell
        std::vector<CallEvent> events;  // to be given to methods; of a stream: from the call's inbox
    };
    // Reads what has come, and sends what is to be sent.
    Served serve();

    // Sends what calls have put in line meanwhile, while this thread holds a Cork on the connection.
    void send_corked();

    // What time brings: pings, limits on silence. False: it is to be ended.
    bool look_after(Clock::time_point now);

    // Since when it has no call; nullopt: it has one.
    std::optional<Clock::time_point> idle_since() const;

    // No new calls. Those that run may end; the connection is of no use after the last.
    void begin_drain();
    void finish_drain();  // when the client has had the time to hear of it
    // Ends all of its calls.
    void end_calls(const Status& status);
    // So that whoever waits for the socket finds it ended.
    void kill() noexcept;

  private:
    friend class ConnectedCall;

    void on_stream_began(std::int32_t stream) override;
    void on_header(std::int32_t stream, std::string_view name, std::string_view value) override;
    void on_headers_complete(std::int32_t stream, bool ended) override;
    void on_data(std::int32_t stream, std::span<const std::byte> bytes) override;
    void on_stream_ended(std::int32_t stream) override;
    void on_stream_closed(std::int32_t stream, std::uint32_t error) override;
    void on_goaway(std::int32_t last_stream, std::uint32_t error) override;
    void on_ping(bool acknowledged) override;
    void on_idle_frame() override;
    void on_data_sent(std::int32_t stream, std::size_t unsent) override;
    std::span<std::byte> room_of(std::int32_t stream) override;

    // Null: it has none, or had it.
    ConnectedCall* call_of(std::int32_t stream) {
        const auto found = calls_.find(stream);
        return found == calls_.end() ? nullptr : found->second.get();
    }
    void put_event(CallEvent event);
    void flush_now();
    void ask_for_calm(std::string words);
    bool send_away();

    const std::uint64_t id_;
    ServerShared& shared_;
    const std::string peer_;
    const Clock::time_point began_;
    mutable std::mutex mutex_;  // over what follows, and Http2
    std::unordered_map<std::int32_t, std::shared_ptr<ConnectedCall>> calls_;
    std::vector<CallEvent> events_;
    std::size_t open_calls_ = 0;  // that have not ended
    Clock::time_point idle_since_, last_heard_, last_taken_;
    std::size_t last_unsent_ = 0;
    std::size_t await_room_ = 0;  // calls of which somebody waits until less is unsent
    std::optional<Clock::time_point> pinged_, last_ping_, said_all_since_;
    bool greeted_ = false;  // it has said that it speaks HTTP/2
    bool draining_ = false, drained_ = false;
    std::string too_much_;  // what the client does too much of, so that it is to go; empty: nothing
    unsigned ping_strikes_ = 0;
    std::uint64_t idle_frames_ = 0, resets_ = 0, answered_ = 0, sent_messages_bytes_ = 0;
};

// As long as it lives, what this thread sends over the connection is put in line; then it is sent at once.
class Cork {
  public:
    explicit Cork(ServerConnection& connection);
    ~Cork();
    Cork(const Cork&) = delete;
    Cork& operator=(const Cork&) = delete;

  private:
    ServerConnection& connection_;
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

    Method& method() const { return *method_; }

    // Events of a stream, in the order in which they came: added with the connection's lock, and handed out by one thread at a
    // time, until next() has none.
    bool add(CallEvent event);  // false: there are too many
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
    std::optional<Status> check(const ServerConnection& connection);
    void tell_of_room(ServerConnection& connection);

    const std::weak_ptr<ServerConnection> connection_;
    const std::int32_t stream_;
    const std::shared_ptr<ServerShared> shared_;  // somebody may keep a call for longer than there is a server
    CallInfo info_;
    Method* method_ = nullptr;
    MessageReader reader_;
    std::atomic<bool> ended_{false};
    // By the connection's lock:
    bool headers_complete_ = false, headers_sent_ = false, got_message_ = false;
    std::size_t header_bytes_ = 0;
    std::string http_method_, content_type_, encoding_, timeout_, authorization_;
    Metadata trailers_;
    std::size_t room_below_ = 0;
    std::function<void()> tell_;              // when less than that is unsent; null: nobody
    std::optional<ReceivedMessage> request_;  // of a unary call, until the client has no more
    // By its own:
    std::mutex inbox_mutex_;
    std::deque<CallEvent> inbox_;
    bool handing_out_ = false;
};

}  // namespace persia::grpc
