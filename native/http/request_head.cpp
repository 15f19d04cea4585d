#include "http/request_head.hpp"

#include <algorithm>
#include <array>

namespace persia::http {

namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kTokenMarks = "!#$%&'*+-.^_`|~";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_token_char(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || kTokenMarks.find(c) != std::string_view::npos;
}

bool is_token(std::string_view text) { return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char); }

// Any byte but control characters; a tab is one that values may have.
bool is_value_char(char c) { return c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f); }

bool is_target_char(char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7f; }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// A part of a message about the request, in quotes; what cannot be printed is left out.
std::string quoted(std::string_view text) {
    constexpr std::size_t kMost = 60;
    std::string words = "'";
    for (const char c : text.substr(0, kMost)) words += c >= 0x20 && c < 0x7f ? c : '?';
    return words + (text.size() > kMost ? "...'" : "'");
}

Refusal bad(std::string message) { return {400, std::move(message)}; }

Refusal bad_line_end(std::string_view line) {
    return bad("expected lines that end with CR and LF, got one that does not: " + quoted(line));
}

std::optional<Refusal> parse_request_line(std::string_view line, RequestHead& head) {
    const std::size_t first = line.find(' ');
    const std::size_t last = line.rfind(' ');
    if (first == std::string_view::npos || first == last) {
        return bad("expected a request line of a method, a target and a version, got " + quoted(line));
    }
    const std::string_view method = line.substr(0, first);
    const std::string_view target = line.substr(first + 1, last - first - 1);
    const std::string_view version = line.substr(last + 1);
    if (!is_token(method)) return bad("expected a method, got " + quoted(method));
    if (target.empty() || !std::all_of(target.begin(), target.end(), is_target_char)) {
        return bad("expected a target without spaces and control characters, got " + quoted(target));
    }
    if (version != "HTTP/1.1" && version != "HTTP/1.0") {
        const bool is_http = version.size() == 8 && version.starts_with("HTTP/") && is_digit(version[5]) && version[6] == '.' &&
                             is_digit(version[7]);
        return Refusal{is_http ? 505 : 400, "expected HTTP/1.1 or HTTP/1.0, got " + quoted(version)};
    }
    head.method = method;
    head.is_http_1_0 = version == "HTTP/1.0";
    head.keep_alive = !head.is_http_1_0;
    // The absolute form, which proxies get: who it is addressed to stands in `Host` as well.
    std::string_view path = target;
    for (const std::string_view scheme : {"http://", "https://"}) {
        if (!path.starts_with(scheme)) continue;
        const std::size_t slash = path.find_first_of("/?", scheme.size());
        path = slash == std::string_view::npos ? "/" : path.substr(slash);
    }
    if (path != "*" && !path.starts_with('/')) return bad("expected a target that begins with '/', got " + quoted(target));
    head.target = path;
    return std::nullopt;
}

std::optional<std::uint64_t> parse_length(std::string_view text) {
    constexpr std::size_t kMostDigits = 18;
    if (text.empty() || text.size() > kMostDigits || !std::all_of(text.begin(), text.end(), is_digit)) return std::nullopt;
    std::uint64_t length = 0;
    for (const char c : text) length = length * 10 + static_cast<std::uint64_t>(c - '0');
    return length;
}

// What the headers say about the message itself. Each of them may come once.
struct Framing {
    bool has_length = false, has_host = false, has_encoding = false, has_authorization = false;
};

std::optional<Refusal> once(bool& seen, std::string_view name) {
    if (seen) return bad("expected one header '" + std::string(name) + "', got several");
    seen = true;
    return std::nullopt;
}

std::optional<Refusal> take_connection(std::string_view value, RequestHead& head) {
    while (!value.empty()) {
        const std::size_t comma = value.find(',');
        const std::string_view option = trimmed(value.substr(0, comma));
        if (equal_ignoring_case(option, "close")) head.keep_alive = false;
        if (equal_ignoring_case(option, "keep-alive") && head.is_http_1_0) head.keep_alive = true;
        value = comma == std::string_view::npos ? std::string_view() : value.substr(comma + 1);
    }
    return std::nullopt;
}

std::optional<Refusal> take_framing(std::string_view name, std::string_view value, RequestHead& head, Framing& framing) {
    if (equal_ignoring_case(name, "content-length")) {
        if (auto refusal = once(framing.has_length, name)) return refusal;
        const auto length = parse_length(value);
        if (!length) return bad("expected a content-length in digits, got " + quoted(value));
        head.content_length = *length;
    } else if (equal_ignoring_case(name, "transfer-encoding")) {
        if (auto refusal = once(framing.has_encoding, name)) return refusal;
        if (!equal_ignoring_case(value, "chunked")) {
            return Refusal{501, "expected the transfer-encoding 'chunked', got " + quoted(value)};
        }
        if (head.is_http_1_0) return bad("expected no transfer-encoding in HTTP/1.0, got " + quoted(value));
        head.chunked = true;
    } else if (equal_ignoring_case(name, "host")) {
        return once(framing.has_host, name);
    } else if (equal_ignoring_case(name, "authorization")) {
        return once(framing.has_authorization, name);
    } else if (equal_ignoring_case(name, "connection")) {
        return take_connection(value, head);
    } else if (equal_ignoring_case(name, "expect")) {
        if (!equal_ignoring_case(value, "100-continue")) {
            return Refusal{417, "expected 'expect: 100-continue', got " + quoted(value)};
        }
        head.expects_continue = !head.is_http_1_0;
    }
    return std::nullopt;
}

std::optional<Refusal> parse_header(std::string_view line, RequestHead& head, Framing& framing) {
    if (line.front() == ' ' || line.front() == '\t') return bad("expected a header, got a folded line");
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return bad("expected a header with a colon, got " + quoted(line));
    const std::string_view name = line.substr(0, colon);
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (!is_token(name)) return bad("expected the name of a header, got " + quoted(name));
    if (!std::all_of(value.begin(), value.end(), is_value_char)) {
        return bad("expected a value without control characters for the header '" + std::string(name) + "', got " +
                   quoted(value));
    }
    if (head.headers.size() == kMaxHeaders) {
        return Refusal{431, "expected at most " + std::to_string(kMaxHeaders) + " headers, got more"};
    }
    head.headers.emplace_back(name, value);
    return take_framing(name, value, head, framing);
}

}  // namespace

std::string_view trimmed(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(" \t");
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

bool equal_ignoring_case(std::string_view one, std::string_view other) {
    return std::equal(one.begin(), one.end(), other.begin(), other.end(), [](char a, char b) { return lower(a) == lower(b); });
}

const std::string* find(const Headers& headers, std::string_view name) {
    const auto found = std::find_if(headers.rbegin(), headers.rend(),
                                    [&](const auto& header) { return equal_ignoring_case(header.first, name); });
    return found == headers.rend() ? nullptr : &found->second;
}

std::optional<std::size_t> end_of_head(std::string_view bytes) {
    const std::size_t end = bytes.find("\r\n\r\n");
    if (end == std::string_view::npos) return std::nullopt;
    return end + 2 * kLineEnd.size();
}

std::optional<Refusal> refusal_of_begin(std::string_view bytes) {
    constexpr std::string_view kTlsHandshake = "\x16\x03";
    if (bytes.starts_with(kTlsHandshake)) return bad("expected HTTP in plain text, got TLS: this address does not speak it");
    if (!bytes.empty() && bytes.front() != '\r' && !is_token_char(bytes.front())) {
        return bad("expected a method, got " + quoted(bytes));
    }
    for (std::size_t begin = 0, end; (end = bytes.find('\n', begin)) != std::string_view::npos; begin = end + 1) {
        if (end == begin || bytes[end - 1] != '\r') return bad_line_end(bytes.substr(begin, end - begin));
    }
    return std::nullopt;
}

std::optional<Refusal> parse_head(std::string_view bytes, RequestHead& head) {
    head = {};
    Framing framing;
    bool is_first = true;
    for (;;) {
        const std::size_t end = bytes.find(kLineEnd);
        const std::string_view line = bytes.substr(0, end);
        if (line.empty()) break;
        if (line.find_first_of("\r\n") != std::string_view::npos) {
            return bad_line_end(line);
        }
        auto refusal = is_first ? parse_request_line(line, head) : parse_header(line, head, framing);
        if (refusal) return refusal;
        is_first = false;
        bytes.remove_prefix(end + kLineEnd.size());
    }
    if (is_first) return bad("expected a request line, got an empty line");
    if (framing.has_length && head.chunked) return bad("expected a content-length or chunks, got both");
    if (!framing.has_host && !head.is_http_1_0) return bad("expected a header 'Host', got none");
    return std::nullopt;
}

}  // namespace persia::http
