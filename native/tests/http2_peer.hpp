// The other end of a client's connection, which the test plays itself: HTTP/2 by nghttp2, and any bytes.
#pragma once

#include <fcntl.h>
#include <nghttp2/nghttp2.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpc/client_connection.hpp"
#include "grpc/wait.hpp"
#include "http2_end.hpp"

namespace persia::grpc {

inline const Headers kAnswer = {{":status", "200"}, {"content-type", "application/grpc"}};
inline const Headers kFine = {{"grpc-status", "0"}};

class Http2Peer {
  public:
    struct Stream : HeardStream {
        std::string answer;
        std::size_t sent = 0;
        Headers trailers;
    };

    // Says SETTINGS at once, unless it is to say only what the test lets it. The other socket is `theirs()`.
    explicit Http2Peer(bool says_settings = true, std::vector<nghttp2_settings_entry> settings = {}) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0) throw std::runtime_error("no sockets");
        ours_ = ends[0];
        theirs_ = ends[1];
        nghttp2_session_callbacks* callbacks = nullptr;
        nghttp2_session_callbacks_new(&callbacks);
        note_what_comes<Http2Peer>(callbacks);
        nghttp2_session_server_new(&session_, callbacks, this);
        nghttp2_session_callbacks_del(callbacks);
        if (says_settings) nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
    }
    ~Http2Peer() {
        hang_up();
        nghttp2_session_del(session_);
    }
    Http2Peer(const Http2Peer&) = delete;
    Http2Peer& operator=(const Http2Peer&) = delete;

    int theirs() const { return theirs_; }

    // Takes what has come.
    void receive() {
        char buffer[1 << 16];
        for (;;) {
            const ssize_t got = recv(ours_, buffer, sizeof(buffer), 0);
            if (got <= 0) break;
            received += static_cast<std::size_t>(got);
            nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(buffer), static_cast<std::size_t>(got));
        }
    }
    // What is to be sent.
    std::string bytes() { return bytes_of(session_); }
    // Sends any bytes, as far as the socket takes them. False: it does not take all of them.
    bool send(std::string_view bytes) {
        return ::send(ours_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
    }
    // Takes what has come, and sends what is to be sent.
    void go_on() {
        receive();
        unsent_ += bytes();
        while (!unsent_.empty()) {
            const ssize_t sent = ::send(ours_, unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
            if (sent <= 0) return;
            unsent_.erase(0, static_cast<std::size_t>(sent));
        }
    }
    void hang_up() {
        if (ours_ < 0) return;
        receive();  // else the other end is told of a reset
        close(std::exchange(ours_, -1));
    }

    // An answer: headers, a body that is sent as it is, trailers; where they are empty the body is the end.
    void answer(std::int32_t stream, std::string body, const Headers& trailers = kFine, const Headers& headers = kAnswer) {
        Stream& out = streams[stream];
        out.answer = std::move(body);
        out.trailers = trailers;
        const auto all = views_of(headers);
        nghttp2_data_provider provider{{}, read};
        nghttp2_submit_response(session_, stream, all.data(), all.size(), &provider);
    }
    // Headers that are the end.
    void refuse(std::int32_t stream, const Headers& headers) {
        const auto all = views_of(headers);
        nghttp2_submit_response(session_, stream, all.data(), all.size(), nullptr);
    }
    void reset(std::int32_t stream, std::uint32_t error) {
        nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream, error);
    }
    void leave(std::int32_t last_stream, std::uint32_t error = NGHTTP2_NO_ERROR) {
        nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, last_stream, error, nullptr, 0);
    }
    void ping() { nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr); }
    void on_goaway(const nghttp2_goaway&) {}

    std::map<std::int32_t, Stream> streams;
    int pongs = 0;
    std::size_t received = 0;  // bytes

  private:
    static ssize_t read(nghttp2_session* session, std::int32_t stream, std::uint8_t* to, std::size_t room, std::uint32_t* flags,
                        nghttp2_data_source*, void* self) {
        Stream& out = static_cast<Http2Peer*>(self)->streams[stream];
        const std::size_t size = std::min(room, out.answer.size() - out.sent);
        std::memcpy(to, out.answer.data() + out.sent, size);
        out.sent += size;
        if (out.sent == out.answer.size()) {
            *flags |= NGHTTP2_DATA_FLAG_EOF;
            if (!out.trailers.empty()) {
                *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
                const auto all = views_of(out.trailers);
                nghttp2_submit_trailer(session, stream, all.data(), all.size());
            }
        }
        return static_cast<ssize_t>(size);
    }

    int ours_ = -1, theirs_ = -1;
    nghttp2_session* session_ = nullptr;
    std::string unsent_;
};

constexpr const char* kPath = "/persia.v1.EmbeddingServer/Lookup";

// A client whose server the test plays.
struct Client {
    explicit Client(ClientLimits limits = {}, bool says_settings = true, std::vector<nghttp2_settings_entry> settings = {})
        : peer(says_settings, std::move(settings)), connection(plain_transport(peer.theirs()), "127.0.0.1:5000", limits) {}

    // Returns the stream that the call has, if the server knows of it.
    std::int32_t ask(std::string message = "question", std::optional<Clock::time_point> deadline = {},
                     Reservation memory = {}) {
        connection.begin(
            {.path = kPath, .message = OutgoingMessage(std::move(message)), .deadline = deadline, .memory = std::move(memory)});
        peer.receive();
        return peer.streams.empty() ? 0 : peer.streams.rbegin()->first;
    }
    // Until the call has ended, or neither end has anything to do.
    ClientConnection::State go_on(int rounds = 1000) {
        for (int i = 0; i < rounds && !connection.has_ended(); ++i) {
            peer.go_on();
            connection.advance();
        }
        return connection.state();
    }

    Http2Peer peer;
    ClientConnection connection;
};

}  // namespace persia::grpc
