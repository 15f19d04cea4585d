// One client of a server, and its calls.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
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
struct ServerShared {
    ServerShared(const ServerLimits& all_limits, std::shared_ptr<const Guard> who_may)
        : limits(all_limits), guard(std::move(who_may)), budget(std::make_shared<MemoryBudget>(all_limits.max_memory_bytes)) {}
    virtual ~ServerShared() = default;

    // Somebody is to serve() the connection when its socket can be read; writable: or written. Called with the connection's
    // lock.
    virtual void wait_for(const ServerConnection& connection, bool writable) = 0;

    const ServerLimits limits;
    const std::shared_ptr<const Guard> guard;
    const std::shared_ptr<MemoryBudget> budget;
    std::map<std::string, std::shared_ptr<Method>, std::less<>> methods;  // as it was at the start, until the end

    std::atomic<std::size_t> calls{0};
    std::atomic<std::uint64_t> finished{0}, refused{0}, expired{0}, cancelled{0};
};

// What a method is to be told, outside of the connection's lock.
struct CallEvent {
    enum class Kind {
        message,
        messages_end,
        call_end,
        inbox,  // of a stream: what is to be told is in the inbox of the call
        begun,  // nothing yet; but the call has a deadline
    };

    std::shared_ptr<ConnectedCall> call;
    Kind kind;
    ReceivedMessage message;
};

// Thread safety: any thread may call all of it. Each holds the connection's lock.
class ServerConnection final : public std::enable_shared_from_this<ServerConnection>, private Http2 {
  public:
    ServerConnection(std::uint64_t id, std::shared_ptr<ServerShared> shared, std::unique_ptr<Transport> transport,
                     std::string peer);

    std::uint64_t id() const { return id_; }
    int socket() const { return Http2::socket(); }

    struct Served {
        bool alive;                     // else it is of no more use
        bool has_more;                  // to read, of which the socket does not tell; else somebody waits for it by now
        std::vector<CallEvent> events;  // to be given to methods
    };
    // Reads what has come, and sends what is to be sent.
    Served serve();

    // Sends what calls have put in line meanwhile, while this thread holds a Cork on the connection.
    void send_corked();

    // What time brings: pings, limits on silence. False: it is to be ended.
    bool look_after(Clock::time_point now);

    // Which of all connections goes first when room is needed: those without a call before those whose calls have not come
    // whole, and of each the one that has been so for longest. nullopt: calls of it are at work.
    struct Idleness {
        bool has_calls;
        Clock::time_point since;
        auto operator<=>(const Idleness&) const = default;
    };
    std::optional<Idleness> idleness() const;

    // No new calls. Those that run may end; the connection is of no use after the last.
    void begin_drain();
    void finish_drain();  // when the client has had the time to hear of it
    // Ends all of its calls, and then itself.
    void end(const Status& status);
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
    std::span<std::byte> room_of(std::int32_t stream) override;

    ConnectedCall* call_of(std::int32_t stream);
    void give(ConnectedCall& call, CallEvent::Kind kind, ReceivedMessage message = {});
    void look_after_requests(Clock::time_point now);
    std::size_t taken() const;
    void flush_now();
    void ask_for_calm(std::string words);
    bool send_away();

    const std::uint64_t id_;
    const std::shared_ptr<ServerShared> shared_;
    const std::string peer_;
    const Clock::time_point began_;
    mutable std::mutex mutex_;  // over what follows, and Http2
    std::unordered_map<std::int32_t, std::shared_ptr<ConnectedCall>> calls_;
    std::vector<CallEvent> events_;
    std::vector<std::shared_ptr<ConnectedCall>> begun_;  // in this turn, with a deadline
    std::uint64_t turns_ = 0;                            // of serve()
    std::size_t open_calls_ = 0;                         // that have not ended
    std::size_t given_calls_ = 0;                        // of which their method knows
    Clock::time_point idle_since_, last_heard_, last_progress_;
    std::size_t progress_ = 0;  // what the client had taken then
    std::optional<Clock::time_point> pinged_, last_ping_;
    std::size_t taken_at_ping_ = 0;
    bool greeted_ = false;  // it has said that it speaks HTTP/2
    bool draining_ = false, drained_ = false;
    std::string too_much_;  // what the client does too much of, so that it is to go; empty: nothing
    unsigned ping_strikes_ = 0;
    std::uint64_t idle_frames_ = 0, resets_ = 0, answered_ = 0;
    std::size_t sent_messages_bytes_ = 0;
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
    void finish(Status status, Metadata trailers) override;
    void reply(OutgoingMessage message) override;
    std::size_t unsent() const override;
    bool reserve(Reservation& reservation, std::size_t bytes) override;

    // Its time is over.
    void expire();
    // It cannot even be told its end: the connection goes.
    void give_up() noexcept;
    // Whether its end was told, or is not to be told any more.
    bool is_finished() const { return ended_; }

    Method& method() const { return *method_; }

    // Whether this is the first time that it is asked.
    bool begin_watch() { return !watched_.exchange(true); }

    // What a stream's method is to be told next, one after the other whoever hands it out.
    std::optional<CallEvent> next();

  private:
    friend class ServerConnection;

    // With the connection's lock.
    void put_headers(ServerConnection& connection);
    void put_end(ServerConnection& connection, const Status& status, const Metadata& trailers);
    void end(ServerConnection& connection);
    std::optional<Status> check(const ServerConnection& connection);
    bool keep_header(std::size_t bytes);
    void refuse_answer(std::size_t bytes);
    bool is_whole() const { return got_end_ || (method_ != nullptr && method_->takes_stream() && !reader_.within()); }

    // Puts an event in the inbox of a stream. None: it is full. True: somebody is to hand out what is in it.
    std::optional<bool> add(CallEvent event, std::uint64_t turn);

    const std::weak_ptr<ServerConnection> connection_;
    const std::int32_t stream_;
    const std::shared_ptr<ServerShared> shared_;
    CallInfo info_;
    Method* method_ = nullptr;
    MessageReader reader_;
    std::atomic<bool> ended_{false}, watched_{false};
    // By the connection's lock:
    bool headers_complete_ = false, headers_sent_ = false, got_message_ = false, got_end_ = false, given_ = false;
    std::size_t header_bytes_ = 0;
    Reservation header_memory_;
    bool has_header_memory_ = true;
    std::size_t request_progress_ = 0;  // bytes that had come
    std::optional<Clock::time_point> last_request_progress_;
    std::string http_method_, content_type_, encoding_, timeout_, authorization_;
    std::optional<ReceivedMessage> request_;  // of a unary call, until the client has no more
    // By its own:
    std::mutex inbox_mutex_;
    std::deque<CallEvent> inbox_;
    std::uint64_t last_turn_ = 0;
    bool inbox_full_ = false;  // since before that turn
    bool handing_out_ = false;
};

}  // namespace persia::grpc
