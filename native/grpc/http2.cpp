#include "grpc/http2.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <utility>

#include "grpc/http2_callbacks.hpp"

namespace persia::grpc {

namespace {

// The first read of a message, and all of a small one.
constexpr std::size_t kScratchBytes = 64 << 10;
// Worth a place of its own in a read.
constexpr std::size_t kWorthReading = 16 << 10;
// Frames are made ahead of the socket up to about so much.
constexpr std::size_t kAhead = 2 << 20;
constexpr std::size_t kMostPieces = 64;  // of one write

std::span<std::byte> scratch() {
    thread_local const auto memory = std::make_unique<std::byte[]>(kScratchBytes);
    return {memory.get(), kScratchBytes};
}

}  // namespace

Http2::Http2(Side side, std::unique_ptr<Transport> transport, const Http2Limits& limits)
    : side_(side), transport_(std::move(transport)), header_blocks_(side == Side::server) {
    nghttp2_option* option = nullptr;
    if (nghttp2_option_new(&option) != 0) throw std::bad_alloc();
    // Streams that have ended are not kept for a tree of priorities that nobody uses.
    nghttp2_option_set_no_closed_streams(option, 1);
#ifdef PERSIA_NGHTTP2_LIMITS_RESETS
    // Servers have a limit of their own (grpc/flood_limits.hpp); nghttp2's 33 a second are too few for a client whose calls run
    // out of time.
    constexpr std::uint64_t kAny = 1'000'000;
    nghttp2_option_set_stream_reset_rate_limit(option, kAny, kAny);
#endif
#ifdef PERSIA_NGHTTP2_LIMITS_CONTINUATIONS
    nghttp2_option_set_max_continuations(option, HeaderBlocks::kMostFrames);  // which has a limit of its own
#endif
    const auto make = side == Side::server ? nghttp2_session_server_new2 : nghttp2_session_client_new2;
    const int made = make(&session_, http2_callbacks(), this, option);
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
    if (said_all_) discard();
    std::size_t total = 0;
    while (!failed_ && !said_all_ && reads_ && total < at_most) {
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

// Reads on to the end of the connection. A socket that is closed before would forget what it still has to send.
void Http2::discard() {
    for (;;) {
        const std::span<std::byte> buffer = scratch();
        const iovec into[] = {{buffer.data(), buffer.size()}};
        const Transport::Result result = transport_->read(into);
        if (result.outcome == Transport::Outcome::none) return;
        if (result.outcome != Transport::Outcome::some) return fail("");
    }
}

bool Http2::receive(std::span<const std::byte> bytes) {
    if (header_blocks_.feed(bytes, [this](std::span<const std::byte> part) { return take_in(part); })) return true;
    if (const std::string& problem = header_blocks_.problem(); !problem.empty()) {
        submit_goaway(NGHTTP2_ENHANCE_YOUR_CALM, problem);
        flush();
        fail(problem);
    }
    return false;
}

bool Http2::take_in(std::span<const std::byte> bytes) {
    const ssize_t taken = nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    if (taken < 0) {
        flush();  // what it has to say about it
        fail(std::string("the other end does not speak HTTP/2: ") + nghttp2_strerror(static_cast<int>(taken)));
        return false;
    }
    return true;
}

bool Http2::flush() {
    while (!failed_ && !said_all_) {
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
    if (!failed_ && !said_all_ && nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0) {
        if (!why_ended_.empty()) {
            fail("the other end does not speak HTTP/2: " + why_ended_);
        } else if (side_ == Side::client) {
            fail("");
        } else {
            said_all_ = true;
            transport_->shut_down();
        }
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
        segments_.back().owners.push_back(owner);
    } else {
        tail();
        segments_.back().piece = {bytes, owner};
    }
}

bool Http2::wants_to_read() const { return !failed_; }

bool Http2::wants_to_write() const {
    // While a handshake waits for the other end, the socket could be written all the time.
    return !failed_ && !said_all_ && (transport_->wants_to_write() || (transport_->is_open() && !segments_.empty()));
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
