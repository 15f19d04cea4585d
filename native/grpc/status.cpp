#include "grpc/status.hpp"

#include <optional>

namespace persia::grpc {

namespace {

constexpr char kHex[] = "0123456789ABCDEF";

std::optional<unsigned> digit(char c) {
    if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
    if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
    if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
    return std::nullopt;
}

}  // namespace

std::string percent_encoded(std::string_view text) {
    std::string encoded;
    encoded.reserve(text.size());
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x20 && byte <= 0x7e && c != '%') {
            encoded += c;
        } else {
            encoded += '%';
            encoded += kHex[byte >> 4];
            encoded += kHex[byte & 15];
        }
    }
    return encoded;
}

std::string percent_decoded(std::string_view text) {
    std::string decoded;
    decoded.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%' && i + 2 < text.size()) {
            const auto high = digit(text[i + 1]), low = digit(text[i + 2]);
            if (high && low) {
                decoded += static_cast<char>(*high << 4 | *low);
                i += 2;
                continue;
            }
        }
        decoded += text[i];
    }
    return decoded;
}

Code code_of_http_status(int status) {
    switch (status) {
        case 400:
            return Code::internal;
        case 401:
            return Code::unauthenticated;
        case 403:
            return Code::permission_denied;
        case 404:
            return Code::unimplemented;
        case 429:
        case 502:
        case 503:
        case 504:
            return Code::unavailable;
        default:
            return Code::unknown;
    }
}

Code code_of_http2_error(unsigned error) {
    constexpr unsigned kRefusedStream = 7, kCancel = 8, kEnhanceYourCalm = 11, kInadequateSecurity = 12;
    switch (error) {
        case kRefusedStream:
            return Code::unavailable;
        case kCancel:
            return Code::cancelled;
        case kEnhanceYourCalm:
            return Code::resource_exhausted;
        case kInadequateSecurity:
            return Code::permission_denied;
        default:
            return Code::internal;
    }
}

}  // namespace persia::grpc
