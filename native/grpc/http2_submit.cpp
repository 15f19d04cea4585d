// What is put in line for the other end.
#include <utility>

#include "grpc/http2_callbacks.hpp"

namespace persia::grpc {

std::int32_t Http2::submit_request(const Headers& headers) {
    const auto all = to_nghttp2(headers);
    const nghttp2_data_provider provider = http2_data();
    const std::int32_t stream = nghttp2_submit_request(session_, nullptr, all.data(), all.size(), &provider, nullptr);
    if (stream >= 0) outgoing_[stream];
    return stream;
}

void Http2::submit_headers(std::int32_t stream, const Headers& headers) {
    const auto all = to_nghttp2(headers);
    const nghttp2_data_provider provider = http2_data();
    if (nghttp2_submit_response(session_, stream, all.data(), all.size(), &provider) == 0) outgoing_[stream];
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

}  // namespace persia::grpc
