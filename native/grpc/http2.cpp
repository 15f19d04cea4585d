#include "grpc/http2.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <utility>

namespace persia::grpc {

namespace {

// The first read of a message, and all of a small one.
constexpr std::size_t kScratchBytes = 64 << 10;
// Worth a place of its own in a read.
constexpr std::size_t kWorthReading = 16 << 10;
// Frames are made ahead of the socket up to about so much.
constexpr std::size_t kAhead = 2 << 20;
constexpr std::size_t kMostPieces = 64;  // of one write
constexpr std::size_t kFrameHead = 9;

std::span<std::byte> scratch() {
    thread_local const auto memory = std::make_unique<std::byte[]>(kScratchBytes);
    return {memory.get(), kScratchBytes};
}

std::span<const std::byte> bytes_of(const std::uint8_t* data, std::size_t size) {
    return {reinterpret_cast<const std::byte*>(data), size};
}

std::string_view text_of(const std::uint8_t* data, std::size_t size) { return {reinterpret_cast<const char*>(data), size}; }

// Values that are another one each time would only push others out of the table.
bool is_fleeting(std::string_view name) { return name == "grpc-timeout" || name == "grpc-message"; }

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

}  // namespace

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

    // What is said to an end that broke the protocol is why the connection ends.
    static int on_frame_sent(nghttp2_session* session, const nghttp2_frame* frame, void* self) {
        const bool ends = frame->hd.type == NGHTTP2_HEADERS && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
        if (ends && nghttp2_session_check_server_session(session) != 0 &&
            nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0) {
            // The client need not send the rest: it has its answer, and the stream would stay open for as long as it likes.
            nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
        }
        if (frame->hd.type != NGHTTP2_GOAWAY || frame->goaway.error_code == NGHTTP2_NO_ERROR) return 0;
        return guarded(self, [&](Http2& http2) {
            const auto words = text_of(frame->goaway.opaque_data, frame->goaway.opaque_data_len);
            http2.why_ended_ = nghttp2_http2_strerror(frame->goaway.error_code);
            if (!words.empty()) http2.why_ended_.append(", ").append(words);
        });
    }

    // Headers that are larger than HTTP/2 sends them: without them the other end would wait for ever.
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

Http2::Http2(Side side, std::unique_ptr<Transport> transport, const Http2Limits& limits) : transport_(std::move(transport)) {
    nghttp2_option* option = nullptr;
    if (nghttp2_option_new(&option) != 0) throw std::bad_alloc();
    // Streams that have ended are not kept for a tree of priorities that nobody uses.
    nghttp2_option_set_no_closed_streams(option, 1);
#ifdef PERSIA_NGHTTP2_LIMITS_RESETS
    // The server has a limit of its own, and no more than 33 a second are too few where many calls of a channel run out of
    // time.
    constexpr std::uint64_t kAny = 1'000'000;
    nghttp2_option_set_stream_reset_rate_limit(option, kAny, kAny);
#endif
    const auto make = side == Side::server ? nghttp2_session_server_new2 : nghttp2_session_client_new2;
    const int made = make(&session_, Http2Callbacks::all(), this, option);
    nghttp2_option_del(option);
    if (made != 0) throw std::bad_alloc();
    const std::array<nghttp2_settings_entry, 5> settings = {{
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.stream_window},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, limits.max_frame_bytes},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits.max_header_bytes},
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.max_streams},
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
    }};
    const std::size_t said = side == Side::server ? settings.size() - 1 : settings.size();
    if (nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), said) != 0 ||
        nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                              static_cast<std::int32_t>(limits.connection_window)) != 0) {
        nghttp2_session_del(session_);
        throw std::bad_alloc();
    }
}

Http2::~Http2() { nghttp2_session_del(session_); }

bool Http2::read(std::size_t at_most) {
    std::size_t total = 0;
    while (!failed_ && total < at_most) {
        const std::span<std::byte> buffer = scratch();
        std::span<std::byte> place;
        if (data_stream_ != 0 && data_left_ >= kWorthReading) {
            place = room_of(data_stream_);
            place = place.first(std::min(place.size(), data_left_));
        }
        const iovec into[] = {{place.data(), place.size()}, {buffer.data(), buffer.size()}};
        // Beside the rest of a frame, what follows it. Before that, more of the message would only have to be copied.
        const bool with_buffer = place.empty() || place.size() == data_left_;
        const std::span<const iovec> used(place.empty() ? into + 1 : into, with_buffer ? into + 2 : into + 1);
        const Transport::Result result = transport_->read(used);
        if (result.outcome == Transport::Outcome::none) break;
        if (result.outcome == Transport::Outcome::ended) {
            fail("");
            break;
        }
        if (result.outcome == Transport::Outcome::failed) {
            fail(transport_->error());
            break;
        }
        received_ += result.bytes;
        const std::size_t in_place = std::min(result.bytes, place.size());
        if (in_place != 0 && !receive(place.first(in_place))) break;
        if (result.bytes > in_place && !receive(buffer.first(result.bytes - in_place))) break;
        total += result.bytes;
        if (result.bytes < place.size() + (with_buffer ? buffer.size() : 0) && !transport_->reads_in_pieces()) break;
    }
    return !failed_;
}

bool Http2::receive(std::span<const std::byte> bytes) {
    const ssize_t taken = nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    if (taken < 0) {
        flush();  // what it has to say about it
        fail(std::string("expected HTTP/2, got what is none: ") + nghttp2_strerror(static_cast<int>(taken)));
        return false;
    }
    return true;
}

bool Http2::flush() {
    while (!failed_) {
        if (!gather()) return false;
        if (segments_.empty()) {
            if (transport_->wants_to_write())
                transport_->write({});  // what it has to say itself; if it fails, read() will tell
            break;
        }
        std::array<iovec, kMostPieces> pieces;
        std::size_t count = 0, skip = written_;
        for (const Segment& segment : segments_) {
            if (count + 2 > pieces.size()) break;
            for (const auto part : {std::as_bytes(std::span(segment.bytes)), segment.piece.bytes}) {
                if (part.size() <= skip) {
                    skip -= part.size();
                    continue;
                }
                pieces[count++] = {const_cast<std::byte*>(part.data() + skip), part.size() - skip};
                skip = 0;
            }
        }
        const Transport::Result result = transport_->write(std::span(pieces).first(count));
        if (result.outcome == Transport::Outcome::none) return true;
        if (result.outcome != Transport::Outcome::some) {
            fail(transport_->error());
            return false;
        }
        unsent_frames_ -= result.bytes;
        written_ += result.bytes;
        while (!segments_.empty()) {
            const std::size_t size = segments_.front().bytes.size() + segments_.front().piece.bytes.size();
            if (written_ < size) break;
            written_ -= size;
            segments_.pop_front();
        }
    }
    // After GOAWAY, or of what broke the protocol.
    if (!failed_ && nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0) {
        fail(why_ended_.empty() ? "" : "expected HTTP/2, got what is none: " + why_ended_);
    }
    return !failed_;
}

// Makes frames of what is to be sent.
bool Http2::gather() {
    while (unsent_frames_ < kAhead) {
        const std::uint8_t* frame = nullptr;
        const ssize_t size = nghttp2_session_mem_send(session_, &frame);
        if (size < 0) {
            fail(std::string("cannot go on with HTTP/2: ") + nghttp2_strerror(static_cast<int>(size)));
            return false;
        }
        if (size == 0) return true;
        tail().append(reinterpret_cast<const char*>(frame), static_cast<std::size_t>(size));
        unsent_frames_ += static_cast<std::size_t>(size);
    }
    return true;
}

// Where bytes go that are copied.
std::string& Http2::tail() {
    if (segments_.empty() || !segments_.back().piece.bytes.empty()) segments_.emplace_back();
    return segments_.back().bytes;
}

void Http2::lend(std::span<const std::byte> bytes, const std::shared_ptr<const void>& owner) {
    constexpr std::size_t kNotWorthLending = 512;
    if (bytes.size() <= kNotWorthLending) {
        tail().append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    } else {
        tail();
        segments_.back().piece = {bytes, owner};
    }
}

bool Http2::wants_to_read() const { return !failed_; }

bool Http2::wants_to_write() const {
    // While a handshake waits for the other end, the socket could be written all the time.
    return !failed_ && (transport_->wants_to_write() || (transport_->is_open() && !segments_.empty()));
}

std::int32_t Http2::submit_request(const Headers& headers) {
    const auto all = to_nghttp2(headers);
    nghttp2_data_provider provider{{}, Http2Callbacks::read_data};
    const std::int32_t stream = nghttp2_submit_request(session_, nullptr, all.data(), all.size(), &provider, nullptr);
    if (stream >= 0) outgoing_[stream];
    return stream;
}

void Http2::submit_headers(std::int32_t stream, const Headers& headers) {
    const auto all = to_nghttp2(headers);
    nghttp2_data_provider provider{{}, Http2Callbacks::read_data};
    if (nghttp2_submit_response(session_, stream, all.data(), all.size(), &provider) == 0) outgoing_[stream];
}

void Http2::submit_message(std::int32_t stream, const OutgoingMessage& message) {
    const auto found = outgoing_.find(stream);
    if (found == outgoing_.end()) return;  // it has ended
    Outgoing& outgoing = found->second;
    std::byte prefix[kPrefixBytes];
    put_prefix(prefix, message.size());
    OutgoingMessage head;
    head.append(prefix);
    for (const OutgoingMessage* part : {const_cast<const OutgoingMessage*>(&head), &message}) {
        for (OutgoingMessage::Piece& piece : part->pieces()) outgoing.pieces.push_back(std::move(piece));
    }
    outgoing.bytes += kPrefixBytes + message.size();
    unsent_messages_ += kPrefixBytes + message.size();
    resume(stream, outgoing);
}

void Http2::submit_end(std::int32_t stream) {
    const auto found = outgoing_.find(stream);
    if (found == outgoing_.end()) return;
    found->second.ends = true;
    resume(stream, found->second);
}

void Http2::submit_trailers(std::int32_t stream, const Headers& headers) {
    const auto found = outgoing_.find(stream);
    if (found == outgoing_.end()) return;
    found->second.ends = found->second.has_trailers = true;
    found->second.trailers = headers;
    resume(stream, found->second);
}

void Http2::submit_trailers_only(std::int32_t stream, const Headers& headers) {
    const auto all = to_nghttp2(headers);
    nghttp2_submit_response(session_, stream, all.data(), all.size(), nullptr);
}

void Http2::resume(std::int32_t stream, Outgoing& outgoing) {
    if (!std::exchange(outgoing.deferred, false)) return;
    nghttp2_session_resume_data(session_, stream);
}

void Http2::submit_reset(std::int32_t stream, std::uint32_t error) {
    drop_messages(stream);  // one that has not begun is never said to be closed
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream, error);
}

void Http2::drop_messages(std::int32_t stream) {
    const auto found = outgoing_.find(stream);
    if (found == outgoing_.end()) return;
    unsent_messages_ -= found->second.bytes;
    outgoing_.erase(found);
}

void Http2::submit_ping() { nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr); }

void Http2::submit_shutdown_notice() { nghttp2_submit_shutdown_notice(session_); }

void Http2::submit_goaway(std::uint32_t error, std::string_view words) {
    nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_), error,
                          reinterpret_cast<const std::uint8_t*>(words.data()), words.size());
}

std::size_t Http2::unsent(std::int32_t stream) const {
    const auto found = outgoing_.find(stream);
    return found == outgoing_.end() ? 0 : found->second.bytes;
}

void Http2::fail(std::string why) {
    if (failed_) return;
    failed_ = true;
    failure_ = std::move(why);
    transport_->shut_down();
}

}  // namespace persia::grpc
