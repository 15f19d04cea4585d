// What the two ends of HTTP/2 that tests play have in common, see http2_caller.hpp and http2_peer.hpp.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grpc/message.hpp"
#include "grpc/metadata.hpp"

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

inline std::vector<nghttp2_nv> views_of(const Headers& headers) {
    std::vector<nghttp2_nv> all;
    for (const auto& [name, value] : headers) {
        all.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
                       reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
                       NGHTTP2_NV_FLAG_NONE});
    }
    return all;
}

// What is to be sent. A session that has ended says nothing.
inline std::string bytes_of(nghttp2_session* session) {
    std::string all;
    const std::uint8_t* data = nullptr;
    for (;;) {
        const ssize_t size = nghttp2_session_mem_send(session, &data);
        if (size <= 0) return all;
        all.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
    }
}

// What came of a stream.
struct HeardStream {
    Headers headers;  // and trailers
    std::string body;
    bool ended = false;
    std::optional<std::uint32_t> reset;

    std::string header(std::string_view name) const {
        const std::string* value = find(headers, name);
        return value == nullptr ? std::string() : *value;
    }
};

// Has a session whose user is an End write down what comes: in its `streams` and `pongs`.
template <class End>
void note_what_comes(nghttp2_session_callbacks* callbacks) {
    nghttp2_session_callbacks_set_on_header_callback(
        callbacks, [](nghttp2_session*, const nghttp2_frame* got, const std::uint8_t* name, std::size_t name_size,
                      const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* end) {
            static_cast<End*>(end)->streams[got->hd.stream_id].headers.emplace_back(
                std::string(reinterpret_cast<const char*>(name), name_size),
                std::string(reinterpret_cast<const char*>(value), value_size));
            return 0;
        });
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        callbacks,
        [](nghttp2_session*, std::uint8_t, std::int32_t stream, const std::uint8_t* data, std::size_t size, void* end) {
            static_cast<End*>(end)->streams[stream].body.append(reinterpret_cast<const char*>(data), size);
            return 0;
        });
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, [](nghttp2_session*, const nghttp2_frame* got, void* user) {
        auto& end = *static_cast<End*>(user);
        if (got->hd.type == NGHTTP2_RST_STREAM) end.streams[got->hd.stream_id].reset = got->rst_stream.error_code;
        if (got->hd.type == NGHTTP2_PING && (got->hd.flags & NGHTTP2_FLAG_ACK) != 0) ++end.pongs;
        if (got->hd.type == NGHTTP2_GOAWAY) end.on_goaway(got->goaway);
        const bool can_end = got->hd.type == NGHTTP2_HEADERS || got->hd.type == NGHTTP2_DATA;
        if (can_end && (got->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) end.streams[got->hd.stream_id].ended = true;
        return 0;
    });
}

}  // namespace persia::grpc
