// The head of an HTTP/1.1 request: its first line and its headers, read strictly.
//
// What two readers could understand differently is refused rather than mended, so that no request can be smuggled past a proxy
// in front of the server: two lengths, a length beside chunks, folded lines, a line that ends without CR, a space before a
// colon.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace persia::http {

constexpr std::size_t kMaxHeadBytes = 64 << 10;
constexpr std::size_t kMaxHeaders = 200;

// Names as the client spelled them.
using Headers = std::vector<std::pair<std::string, std::string>>;

// The value of the last header of that name, in whatever case; null: there is none.
const std::string* find(const Headers& headers, std::string_view name);
bool equal_ignoring_case(std::string_view one, std::string_view other);
// Without the blanks around it.
std::string_view trimmed(std::string_view text);

// Why a request is not served: an HTTP status, and words for who sent it.
struct Refusal {
    int status = 400;
    std::string message;
};

struct RequestHead {
    std::string method;
    std::string target;  // as it came: `/models/ctr?limit=1`, or `*`
    Headers headers;
    std::uint64_t content_length = 0;
    bool chunked = false;      // then content_length says nothing
    bool keep_alive = true;    // whether the client wants to go on with the connection
    bool is_http_1_0 = false;  // such a client knows no chunks
    bool expects_continue = false;

    bool has_body() const { return chunked || content_length != 0; }
};

// Where the head ends that `bytes` begin with, behind its empty line; nullopt: it is not all there.
std::optional<std::size_t> end_of_head(std::string_view bytes);

// Why the head that is not all there will never be one, so that nobody waits for the rest of it; nullopt: it may be. A client
// that speaks TLS, or ends its lines with LF alone, would hear nothing for as long as a head may take.
std::optional<Refusal> refusal_of_begin(std::string_view bytes);

// REQUIRES: `bytes` is a head, with its empty line. nullopt: `head` is filled in.
std::optional<Refusal> parse_head(std::string_view bytes, RequestHead& head);

}  // namespace persia::http
