// The other end of a server's connection, which the test plays itself: HTTP/2 by nghttp2, and any bytes.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpc/http2.hpp"
#include "grpc/message.hpp"
#include "grpc/metadata.hpp"
#include "raw_socket.hpp"

namespace persia::grpc {

inline std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// As a message travels.
inline std::string framed(std::string_view message) {
    std::byte prefix[kPrefixBytes];
    put_prefix(prefix, message.size());
    return text_of(prefix) + std::string(message);
}

// So many bytes, no two of which next to each other are the same.
inline std::string some_text(std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 + i / 251);
    return text;
}

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

inline const std::string kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// HTTP/2 of a client, as bytes that come and go.
class Http2Caller {
  public:
    struct Stream {
        Headers headers;  // and trailers
        std::string body;
        bool ended = false;
        std::optional<std::uint32_t> reset, closed;

        std::string header(std::string_view name) const {
            const std::string* value = find(headers, name);
            return value == nullptr ? std::string() : *value;
        }
        // The message of a unary answer.
        std::string message() const { return body.size() < kPrefixBytes ? std::string() : body.substr(kPrefixBytes); }

        std::string to_send;
        std::size_t sent = 0;
        bool ends = true, waits = false;
    };

    // window: of each stream and of the connection, in bytes. stays_shut: they are not opened again by what comes.
    explicit Http2Caller(std::uint32_t window = 65'535, bool stays_shut = false) {
        nghttp2_session_callbacks* callbacks = nullptr;
        nghttp2_session_callbacks_new(&callbacks);
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
        nghttp2_option* option = nullptr;
        nghttp2_option_new(&option);
        nghttp2_option_set_no_auto_window_update(option, stays_shut ? 1 : 0);
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
        const auto all = views(headers);
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
    std::string bytes() {
        std::string all;
        const std::uint8_t* data = nullptr;
        for (;;) {
            const ssize_t size = nghttp2_session_mem_send(session_, &data);
            if (size <= 0) return all;
            all.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
        }
    }
    void take(std::string_view bytes) {
        nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    }

    std::map<std::int32_t, Stream> streams;
    int pongs = 0;
    std::optional<std::uint32_t> goaway;
    std::string goaway_words;
    std::int32_t last_stream = 0;  // that the server has taken, by its GOAWAY

  private:
    static std::vector<nghttp2_nv> views(const Headers& headers) {
        std::vector<nghttp2_nv> all;
        for (const auto& [name, value] : headers) {
            all.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
                           reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
                           NGHTTP2_NV_FLAG_NONE});
        }
        return all;
    }
    static int on_header(nghttp2_session*, const nghttp2_frame* got, const std::uint8_t* name, std::size_t name_size,
                         const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* self) {
        static_cast<Http2Caller*>(self)->streams[got->hd.stream_id].headers.emplace_back(
            std::string(reinterpret_cast<const char*>(name), name_size),
            std::string(reinterpret_cast<const char*>(value), value_size));
        return 0;
    }
    static int on_data(nghttp2_session*, std::uint8_t, std::int32_t stream, const std::uint8_t* data, std::size_t size,
                       void* self) {
        static_cast<Http2Caller*>(self)->streams[stream].body.append(reinterpret_cast<const char*>(data), size);
        return 0;
    }
    static int on_frame(nghttp2_session*, const nghttp2_frame* got, void* self) {
        auto& caller = *static_cast<Http2Caller*>(self);
        if (got->hd.type == NGHTTP2_RST_STREAM) caller.streams[got->hd.stream_id].reset = got->rst_stream.error_code;
        if (got->hd.type == NGHTTP2_PING && (got->hd.flags & NGHTTP2_FLAG_ACK) != 0) ++caller.pongs;
        if (got->hd.type == NGHTTP2_GOAWAY) {
            caller.goaway = got->goaway.error_code;
            caller.last_stream = got->goaway.last_stream_id;
            caller.goaway_words.assign(reinterpret_cast<const char*>(got->goaway.opaque_data), got->goaway.opaque_data_len);
        }
        const bool can_end = got->hd.type == NGHTTP2_HEADERS || got->hd.type == NGHTTP2_DATA;
        if (can_end && (got->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) caller.streams[got->hd.stream_id].ended = true;
        return 0;
    }
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
