// What nghttp2 calls of a connection, and how headers are given to it.
#pragma once

#include <nghttp2/nghttp2.h>

#include <vector>

#include "grpc/http2.hpp"

namespace persia::grpc {

// For sessions whose user data is an Http2. Throws bad_alloc.
nghttp2_session_callbacks* http2_callbacks();

// Gives nghttp2 the messages of a stream.
nghttp2_data_provider http2_data();

// Views of the headers.
std::vector<nghttp2_nv> to_nghttp2(const Headers& headers);

}  // namespace persia::grpc
