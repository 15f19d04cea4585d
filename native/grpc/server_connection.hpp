// One client of a server, and its calls.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "grpc/connected_call.hpp"
#include "grpc/flood_limits.hpp"
#include "grpc/http2.hpp"

namespace persia::grpc {

// Thread safety: any thread may call all of it. Each holds the connection's lock.
class ServerConnection final : public std::enable_shared_from_this<ServerConnection>, private Http2 {
  public:
    ServerConnection(std::uint64_t id, ServerShared& shared, std::unique_ptr<Transport> transport, std::string peer);

    std::uint64_t id() const { return id_; }
    bool has_greeted() const { return greeted_; }
    int socket() const { return Http2::socket(); }

    struct Served {
        bool alive;                     // else it is of no more use
        bool has_more;                  // to read, of which the socket does not tell
        std::vector<CallEvent> events;  // to be given to methods; of a stream: from the call's inbox
        std::string refused;            // who it was that could not be spoken with, and why; empty: it is none of these
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
    // Ends all of its calls, and then itself. Its methods are told by the next serve().
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
    void on_frame_refused() override;
    void on_answer_sent(std::int32_t stream) override;
    void on_data_sent(std::int32_t stream, std::size_t unsent) override;
    std::span<std::byte> room_of(std::int32_t stream) override;

    // Null: it has none, or had it.
    ConnectedCall* call_of(std::int32_t stream) {
        const auto found = calls_.find(stream);
        return found == calls_.end() ? nullptr : found->second.get();
    }
    void put_event(CallEvent event);
    void flush_now();
    void count_frame();
    void stop_if_too_much();
    std::size_t taken() const;
    void look_after_requests(Clock::time_point now);
    bool send_away();

    const std::uint64_t id_;
    ServerShared& shared_;
    const std::string peer_;
    const Clock::time_point began_;
    mutable std::mutex mutex_;  // over what follows, and Http2
    std::unordered_map<std::int32_t, std::shared_ptr<ConnectedCall>> calls_;
    std::vector<CallEvent> events_;
    std::vector<std::shared_ptr<ConnectedCall>> begun_;  // in this turn, with a deadline
    std::uint64_t turns_ = 0;                            // of serve()
    std::size_t open_calls_ = 0;                         // that have not ended
    std::size_t given_calls_ = 0;                        // of which their method knows
    std::size_t await_room_ = 0;                         // of which somebody waits until less is unsent
    std::size_t messages_bytes_ = 0;                     // that were to be sent
    FloodLimits flood_limits_;
    int frames_of_turn_ = 0;  // of the kind that takes time: those of other kinds are read as fast as they come
    Clock::time_point idle_since_, last_heard_, last_progress_;
    std::size_t progress_ = 0;  // what the client had taken then
    std::optional<Clock::time_point> pinged_, said_all_since_;
    std::atomic<bool> greeted_{false};  // it has said that it speaks HTTP/2
    bool draining_ = false, drained_ = false;
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

}  // namespace persia::grpc
