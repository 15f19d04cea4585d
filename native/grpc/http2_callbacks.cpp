#include "grpc/http2_callbacks.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace persia::grpc {

namespace {

constexpr std::size_t kFrameHead = 9;

std::span<const std::byte> bytes_of(const std::uint8_t* data, std::size_t size) {
    return {reinterpret_cast<const std::byte*>(data), size};
}

std::string_view text_of(const std::uint8_t* data, std::size_t size) { return {reinterpret_cast<const char*>(data), size}; }

// Values that are another one each time would only push others out of the table.
bool is_fleeting(std::string_view name) { return name == "grpc-timeout" || name == "grpc-message"; }

}  // namespace

std::vector<nghttp2_nv> to_nghttp2(const Headers& headers) {
    std::vector<nghttp2_nv> all;
    all.reserve(headers.size());
    for (const auto& [name, value] : headers) {
        all.push_back({const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(name.data())),
                       const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(value.data())), name.size(),
                       value.size(),
                       static_cast<std::uint8_t>(is_fleeting(name) ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE)});
    }
    return all;
}

// What nghttp2 calls. It must not see exceptions: hardly more than bad_alloc can be thrown here.
struct Http2Callbacks {
    template <class Work>
    static int guarded(void* self, Work work) noexcept {
        try {
            auto& http2 = *static_cast<Http2*>(self);
            work(http2);
            return http2.failed_ ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;  // nothing more is to be read then
        } catch (...) {
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        }
    }

    static int on_begin_frame(nghttp2_session*, const nghttp2_frame_hd* head, void* self) {
        return guarded(self, [&](Http2& http2) {
            const bool is_plain_data = head->type == NGHTTP2_DATA && (head->flags & NGHTTP2_FLAG_PADDED) == 0;
            http2.data_stream_ = is_plain_data ? head->stream_id : 0;
            http2.data_left_ = is_plain_data ? head->length : 0;
            const bool ends = head->type == NGHTTP2_DATA && (head->flags & NGHTTP2_FLAG_END_STREAM) != 0;
            if (!ends && http2.data_left_ == 0) http2.on_idle_frame();
        });
    }

    static int on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* self) {
        return guarded(self, [&](Http2& http2) {
            if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) http2.on_stream_began(frame->hd.stream_id);
        });
    }

    static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
                         const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* self) {
        return guarded(self, [&](Http2& http2) {
            http2.on_header(frame->hd.stream_id, text_of(name, name_size), text_of(value, value_size));
        });
    }

    static int on_data_chunk(nghttp2_session*, std::uint8_t, std::int32_t stream, const std::uint8_t* data, std::size_t size,
                             void* self) {
        return guarded(self, [&](Http2& http2) {
            if (stream == http2.data_stream_) http2.data_left_ -= std::min(http2.data_left_, size);
            http2.on_data(stream, bytes_of(data, size));
        });
    }

    static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* self) {
        return guarded(self, [&](Http2& http2) {
            const std::int32_t stream = frame->hd.stream_id;
            const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
            switch (frame->hd.type) {
                case NGHTTP2_HEADERS:
                    http2.on_headers_complete(stream, ends);
                    if (ends) http2.on_stream_ended(stream);
                    break;
                case NGHTTP2_DATA:
                    if (ends) http2.on_stream_ended(stream);
                    break;
                case NGHTTP2_PING:
                    http2.on_ping((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0);
                    break;
                case NGHTTP2_GOAWAY:
                    http2.on_goaway(frame->goaway.last_stream_id, frame->goaway.error_code);
            }
        });
    }

    static int on_frame_refused(nghttp2_session*, const nghttp2_frame*, int, void* self) {
        return guarded(self, [](Http2& http2) { http2.on_frame_refused(); });
    }

    static int on_frame_sent(nghttp2_session* session, const nghttp2_frame* frame, void* self) {
        return guarded(self, [&](Http2& http2) {
            const bool ends = frame->hd.type == NGHTTP2_HEADERS && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
            if (ends && http2.side_ == Http2::Side::server) answer_sent(session, frame->hd.stream_id, http2);
            if (frame->hd.type != NGHTTP2_GOAWAY || frame->goaway.error_code == NGHTTP2_NO_ERROR) return;
            // What is said to an end that broke the protocol is why the connection ends.
            const auto words = text_of(frame->goaway.opaque_data, frame->goaway.opaque_data_len);
            http2.why_ended_ = nghttp2_http2_strerror(frame->goaway.error_code);
            if (!words.empty()) http2.why_ended_.append(", ").append(words);
        });
    }

    static void answer_sent(nghttp2_session* session, std::int32_t stream, Http2& http2) {
        http2.on_answer_sent(stream);
        if (nghttp2_session_get_stream_remote_close(session, stream) != 0) return;
        // The client need not send the rest: it has its answer, and the stream would stay open for as long as it likes.
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_NO_ERROR);
    }

    // Headers that are larger than HTTP/2 sends them: without an end the other end would wait for ever.
    static int on_frame_not_sent(nghttp2_session* session, const nghttp2_frame* frame, int error, void*) {
        const bool is_open = error != NGHTTP2_ERR_STREAM_CLOSED && error != NGHTTP2_ERR_STREAM_CLOSING;
        if (frame->hd.type == NGHTTP2_HEADERS && is_open) {
            nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_INTERNAL_ERROR);
        }
        return 0;
    }

    static int on_stream_close(nghttp2_session*, std::int32_t stream, std::uint32_t error, void* self) {
        return guarded(self, [&](Http2& http2) {
            http2.drop_messages(stream);
            http2.on_stream_closed(stream, error);
        });
    }

    static ssize_t most_data(nghttp2_session*, std::uint8_t, std::int32_t, std::int32_t connection_window,
                             std::int32_t stream_window, std::uint32_t max_frame_bytes, void*) {
        constexpr std::int64_t kMost = 1 << 20;  // so that the calls of a connection take turns
        return std::min<std::int64_t>({connection_window, stream_window, max_frame_bytes, kMost});
    }

    static ssize_t read_data(nghttp2_session* session, std::int32_t stream, std::uint8_t*, std::size_t at_most,
                             std::uint32_t* flags, nghttp2_data_source*, void* self) {
        auto& http2 = *static_cast<Http2*>(self);
        const auto found = http2.outgoing_.find(stream);
        if (found == http2.outgoing_.end()) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        Http2::Outgoing& outgoing = found->second;
        if (outgoing.bytes == 0 && !outgoing.ends) {
            outgoing.deferred = true;
            return NGHTTP2_ERR_DEFERRED;
        }
        const std::size_t size = std::min(at_most, outgoing.bytes);
        if (size == outgoing.bytes && outgoing.ends) {
            *flags |= NGHTTP2_DATA_FLAG_EOF;
            if (outgoing.has_trailers) {
                *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
                const auto trailers = to_nghttp2(outgoing.trailers);
                if (nghttp2_submit_trailer(session, stream, trailers.data(), trailers.size()) != 0) {
                    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
                }
            }
        }
        if (size != 0) *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
        return static_cast<ssize_t>(size);
    }

    // A DATA frame: its head is copied, and what it carries is lent.
    static int send_data(nghttp2_session*, nghttp2_frame* frame, const std::uint8_t* head, std::size_t size,
                         nghttp2_data_source*, void* self) {
        return guarded(self, [&](Http2& http2) {
            Http2::Outgoing& outgoing = http2.outgoing_.at(frame->hd.stream_id);
            http2.tail().append(reinterpret_cast<const char*>(head), kFrameHead);
            http2.unsent_frames_ += kFrameHead + size;
            outgoing.bytes -= size;
            http2.unsent_messages_ -= size;
            while (size != 0) {
                OutgoingMessage::Piece& front = outgoing.pieces.front();
                const auto part = front.bytes.subspan(outgoing.offset, std::min(size, front.bytes.size() - outgoing.offset));
                size -= part.size();
                outgoing.offset += part.size();
                http2.lend(part, front.owner);
                if (outgoing.offset == front.bytes.size()) {
                    outgoing.pieces.pop_front();
                    outgoing.offset = 0;
                }
            }
            http2.on_data_sent(frame->hd.stream_id, outgoing.bytes);
        });
    }

    static nghttp2_session_callbacks* all() {
        static nghttp2_session_callbacks* const callbacks = [] {
            nghttp2_session_callbacks* made = nullptr;
            if (nghttp2_session_callbacks_new(&made) != 0) throw std::bad_alloc();
            nghttp2_session_callbacks_set_on_begin_frame_callback(made, on_begin_frame);
            nghttp2_session_callbacks_set_on_begin_headers_callback(made, on_begin_headers);
            nghttp2_session_callbacks_set_on_header_callback(made, on_header);
            nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, on_data_chunk);
            nghttp2_session_callbacks_set_on_frame_recv_callback(made, on_frame);
            nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(made, on_frame_refused);
            nghttp2_session_callbacks_set_on_frame_send_callback(made, on_frame_sent);
            nghttp2_session_callbacks_set_on_frame_not_send_callback(made, on_frame_not_sent);
            nghttp2_session_callbacks_set_on_stream_close_callback(made, on_stream_close);
            nghttp2_session_callbacks_set_data_source_read_length_callback(made, most_data);
            nghttp2_session_callbacks_set_send_data_callback(made, send_data);
            return made;
        }();
        return callbacks;
    }
};

nghttp2_session_callbacks* http2_callbacks() { return Http2Callbacks::all(); }

nghttp2_data_provider http2_data() { return {{}, Http2Callbacks::read_data}; }

}  // namespace persia::grpc
