// The other end of a server's connection, which the test plays itself: HTTP/2 by nghttp2, and any bytes.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpc/http2.hpp"
#include "http2_end.hpp"
#include "raw_socket.hpp"

namespace persia::grpc {

// A frame of HTTP/2, right or wrong. length: as it is said; by itself: as it is.
inline std::string frame(int type, int flags, std::uint32_t stream, std::string_view body,
                         std::optional<std::uint32_t> length = {}) {
    const std::uint32_t said = length.value_or(static_cast<std::uint32_t>(body.size()));
    std::string all;
    for (const int shift : {16, 8, 0}) all += static_cast<char>(said >> shift);
    all += static_cast<char>(type);
    all += static_cast<char>(flags);
    for (const int shift : {24, 16, 8, 0}) all += static_cast<char>(stream >> shift);
    return all.append(body);
}

inline std::string four_bytes(std::uint32_t number) {
    std::string all;
    for (const int shift : {24, 16, 8, 0}) all += static_cast<char>(number >> shift);
    return all;
}

constexpr std::size_t kMostHeaders = 64 << 20;  // of one call, as far as the caller is concerned

inline const std::string kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// HTTP/2 of a client, as bytes that come and go.
class Http2Caller {
  public:
    struct Stream : HeardStream {
        // The message of a unary answer.
        std::string message() const { return body.size() < kPrefixBytes ? std::string() : body.substr(kPrefixBytes); }

        std::optional<std::uint32_t> closed;
        std::string to_send;
        std::size_t sent = 0;
        bool ends = true, waits = false;
    };

    // window: of each stream and of the connection, in bytes. stays_shut: they are not opened again by what comes.
    explicit Http2Caller(std::uint32_t window = 65'535, bool stays_shut = false) {
        nghttp2_session_callbacks* callbacks = nullptr;
        nghttp2_session_callbacks_new(&callbacks);
        note_what_comes<Http2Caller>(callbacks);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
        nghttp2_option* option = nullptr;
        nghttp2_option_new(&option);
        nghttp2_option_set_no_auto_window_update(option, stays_shut ? 1 : 0);
        nghttp2_option_set_max_send_header_block_length(option, kMostHeaders);
        nghttp2_session_client_new2(&session_, callbacks, this, option);
        nghttp2_option_del(option);
        nghttp2_session_callbacks_del(callbacks);
        const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window}};
        nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, 1);
        nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, static_cast<std::int32_t>(window));
    }
    ~Http2Caller() { nghttp2_session_del(session_); }
    Http2Caller(const Http2Caller&) = delete;
    Http2Caller& operator=(const Http2Caller&) = delete;

    static Headers headers_of(std::string_view path, const Headers& more = {}) {
        Headers headers = {{":method", "POST"},    {":scheme", "http"}, {":path", std::string(path)},
                           {":authority", "test"}, {"te", "trailers"},  {"content-type", "application/grpc"}};
        headers.insert(headers.end(), more.begin(), more.end());
        return headers;
    }

    // Begins a call whose body is these bytes, as they are; ends: there are no more. Returns its stream.
    std::int32_t call(std::string_view path, std::string body, const Headers& more = {}, bool ends = true) {
        return begin(headers_of(path, more), std::move(body), ends);
    }
    std::int32_t begin(const Headers& headers, std::string body, bool ends = true) {
        const auto all = views_of(headers);
        nghttp2_data_provider provider{{}, read};
        const std::int32_t stream = nghttp2_submit_request(session_, nullptr, all.data(), all.size(), &provider, nullptr);
        Stream& made = streams[stream];
        made.to_send = std::move(body);
        made.ends = ends;
        return stream;
    }
    void send_more(std::int32_t stream, std::string_view body, bool ends) {
        Stream& out = streams[stream];
        out.to_send.append(body);
        out.ends = ends;
        if (std::exchange(out.waits, false)) nghttp2_session_resume_data(session_, stream);
    }
    void reset(std::int32_t stream, std::uint32_t error = NGHTTP2_CANCEL) {
        nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream, error);
    }
    void ping() { nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr); }

    // What is to be sent. A session that has ended says nothing.
    std::string bytes() { return bytes_of(session_); }
    void take(std::string_view bytes) {
        nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    }

    void on_goaway(const nghttp2_goaway& got) {
        goaway = got.error_code;
        last_stream = got.last_stream_id;
        goaway_words.assign(reinterpret_cast<const char*>(got.opaque_data), got.opaque_data_len);
    }

    std::map<std::int32_t, Stream> streams;
    int pongs = 0;
    std::optional<std::uint32_t> goaway;
    std::string goaway_words;
    std::int32_t last_stream = 0;  // that the server has taken, by its GOAWAY

  private:
    static int on_close(nghttp2_session*, std::int32_t stream, std::uint32_t error, void* self) {
        static_cast<Http2Caller*>(self)->streams[stream].closed = error;
        return 0;
    }
    static ssize_t read(nghttp2_session*, std::int32_t stream, std::uint8_t* to, std::size_t room, std::uint32_t* flags,
                        nghttp2_data_source*, void* self) {
        Stream& out = static_cast<Http2Caller*>(self)->streams[stream];
        const std::size_t size = std::min(room, out.to_send.size() - out.sent);
        std::memcpy(to, out.to_send.data() + out.sent, size);
        out.sent += size;
        if (out.sent == out.to_send.size() && out.ends) *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (size == 0 && !out.ends) {
            out.waits = true;
            return NGHTTP2_ERR_DEFERRED;
        }
        return static_cast<ssize_t>(size);
    }

    nghttp2_session* session_ = nullptr;
};

// A client whose frames the test sees.
class Caller : public Http2Caller {
  public:
    explicit Caller(const std::string& address, std::uint32_t window = 65'535, bool stays_shut = false, int room = 0)
        : Http2Caller(window, stays_shut), raw(address, room) {}

    // Takes what has come, and sends what is to be sent.
    void go_on() {
        for (std::string got = raw.receive(); !got.empty(); got = raw.receive()) take(got);
        unsent_ += bytes();
        unsent_.erase(0, raw.send(unsent_));
    }
    // Until this is so, or the server has gone. It may be so without a word of the server.
    template <class Condition>
    bool until(Condition condition) {
        for (;;) {
            go_on();
            if (condition()) return true;
            if (raw.gone()) return false;
            raw.wait(unsent_.empty() ? POLLIN : POLLIN | POLLOUT, 5);
        }
    }
    bool until_ended(std::int32_t stream) {
        return until([&] { return streams[stream].ended || streams[stream].reset || streams[stream].closed; });
    }
    // The answer to a unary call.
    Stream& ask(std::string_view path, std::string_view message, const Headers& more = {}) {
        const std::int32_t stream = call(path, framed(message), more);
        until_ended(stream);
        return streams[stream];
    }

    RawSocket raw;

  private:
    std::string unsent_;
};

}  // namespace persia::grpc
