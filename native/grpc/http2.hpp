// HTTP/2 over a transport, for both ends of gRPC: what server and client do alike with nghttp2.
//
// Thread safety: for one thread at a time. No function throws; what goes wrong ends the connection, and is told by failure().
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "grpc/header_blocks.hpp"
#include "grpc/message.hpp"
#include "grpc/transport.hpp"

namespace persia::grpc {

struct Http2Limits {
    std::uint32_t max_streams = 1024;           // that the other end may have open; 0: none, as at a client
    std::uint32_t max_header_bytes = 64 << 10;  // of one stream, names and values
    std::uint32_t stream_window = 4 << 20;      // that the other end may send before it is read
    std::uint32_t connection_window = 16 << 20;
    std::uint32_t max_frame_bytes = 1 << 20;
};

using Headers = std::vector<std::pair<std::string, std::string>>;

class Http2 {
  public:
    enum class Side { server, client };

    Http2(Side side, std::unique_ptr<Transport> transport, const Http2Limits& limits);
    virtual ~Http2();
    Http2(const Http2&) = delete;
    Http2& operator=(const Http2&) = delete;

    // Reads what has come, at most about so many bytes, and calls the on_ functions. False: the connection is of no more use.
    bool read(std::size_t at_most);
    // Sends what is to be sent, as far as the socket takes it. False: the connection is of no more use.
    bool flush();

    // What is waited for at the socket.
    bool wants_to_read() const;
    bool wants_to_write() const;
    // Whether read() would find bytes that the socket does not tell of.
    bool has_buffered() const { return transport_->has_buffered(); }
    // Bytes that have come, since the begin.
    std::uint64_t received() const { return received_; }
    // Frames that are to be sent and were not made yet: many, if the other end makes us say much and takes none of it.
    std::size_t unmade() const { return nghttp2_session_get_outbound_queue_size(session_); }
    // Bytes that are to be sent: frames that wait for the socket, and messages that wait for their turn or for a window.
    std::size_t unsent() const { return unsent_frames_ + unsent_messages_; }

    bool failed() const { return failed_; }
    const std::string& failure() const { return failure_; }  // REQUIRES: failed. Empty: the other end has closed.

    int socket() const { return transport_->socket(); }
    Transport& transport() { return *transport_; }
    const Transport& transport() const { return *transport_; }

    // What follows only puts frames in line: flush() sends them.

    // Begins a call. Returns its stream; negative: no more can be begun on this connection.
    std::int32_t submit_request(const Headers& headers);
    void submit_headers(std::int32_t stream, const Headers& headers);  // of an answer, before its messages
    void submit_message(std::int32_t stream, const OutgoingMessage& message);
    void submit_end(std::int32_t stream);                               // after the last message of a client
    void submit_trailers(std::int32_t stream, const Headers& headers);  // after the last message of a server
    void submit_trailers_only(std::int32_t stream, const Headers& headers);
    void submit_reset(std::int32_t stream, std::uint32_t error);
    void submit_ping();
    void submit_shutdown_notice();                                    // GOAWAY: no more streams, soon
    void submit_goaway(std::uint32_t error, std::string_view words);  // no more streams, from now on

    std::size_t unsent(std::int32_t stream) const;  // bytes of its messages

  protected:
    // Each is called while read() runs, but on_stream_closed, which submit_ functions and flush() may call as well.
    virtual void on_stream_began(std::int32_t stream) = 0;  // with its headers to come
    virtual void on_header(std::int32_t stream, std::string_view name, std::string_view value) = 0;
    // ended: nothing follows.
    virtual void on_headers_complete(std::int32_t stream, bool ended) = 0;
    virtual void on_data(std::int32_t stream, std::span<const std::byte> bytes) = 0;
    virtual void on_stream_ended(std::int32_t stream) = 0;  // the other end has no more
    virtual void on_stream_closed(std::int32_t stream, std::uint32_t error) = 0;
    virtual void on_goaway(std::int32_t last_stream, std::uint32_t error) = 0;
    virtual void on_ping(bool acknowledged) = 0;
    // A frame begins that has no data of a call: for limits on those who send many of them. If it begins a call,
    // on_stream_began follows.
    virtual void on_idle_frame() = 0;
    // A frame was wrong, or began a stream beyond those that are allowed.
    virtual void on_frame_refused() {}
    // The last frame of an answer was put before the socket. Called while flush() runs.
    virtual void on_answer_sent(std::int32_t /*stream*/) {}
    // DATA of a stream was put before the socket; so many bytes of its messages are left. Called while flush() runs.
    virtual void on_data_sent(std::int32_t /*stream*/, std::size_t /*unsent*/) {}
    // Where the next bytes of a stream may be read to; empty: nowhere. They are given to on_data afterwards all the same.
    virtual std::span<std::byte> room_of(std::int32_t stream) = 0;

    // Ends the connection at once.
    void fail(std::string why);
    // What has come and was not read yet stays so.
    void stop_reading() { reads_ = false; }
    // Whether a server has said all: it only waits for the other end to have read it, and to close.
    bool has_said_all() const { return said_all_; }

  private:
    friend struct Http2Callbacks;

    // What is to be sent on a stream.
    struct Outgoing {
        std::deque<OutgoingMessage::Piece> pieces;
        std::size_t offset = 0;  // sent, of the first one
        std::size_t bytes = 0;   // of all pieces that is not sent
        bool ends = false;       // after them comes nothing, or trailers:
        bool has_trailers = false;
        Headers trailers;
        bool deferred = false;  // nghttp2 has asked for more, and was told to wait
    };
    struct Segment {
        std::string bytes;                                // a frame, or the head of one; then
        OutgoingMessage::Piece piece;                     // may be empty
        std::vector<std::shared_ptr<const void>> owners;  // of what was copied: what they take of a budget is in use till then
    };

    bool receive(std::span<const std::byte> bytes);
    bool take_in(std::span<const std::byte> bytes);
    void discard();
    bool gather();
    void lend(std::span<const std::byte> bytes, const std::shared_ptr<const void>& owner);
    void resume(std::int32_t stream, Outgoing& outgoing);
    std::string& tail();
    void drop_messages(std::int32_t stream);

    const Side side_;
    std::unique_ptr<Transport> transport_;
    HeaderBlocks header_blocks_;
    nghttp2_session* session_ = nullptr;
    std::unordered_map<std::int32_t, Outgoing> outgoing_;
    std::deque<Segment> segments_;   // that are to be written
    std::size_t written_ = 0;        // of the first one
    std::size_t unsent_frames_ = 0;  // bytes of the segments that are not written
    std::size_t unsent_messages_ = 0;
    std::uint64_t received_ = 0;
    std::int32_t data_stream_ = 0;  // whose DATA frame comes just now; 0: none
    std::size_t data_left_ = 0;     // bytes of it
    bool reads_ = true;
    bool said_all_ = false;
    bool failed_ = false;
    std::string failure_;
    std::string why_ended_;  // what was said to the other end of how it broke the protocol
};

}  // namespace persia::grpc
