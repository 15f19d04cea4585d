// What a request says besides its head: the query of its target, and forms in its body.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "http/request_head.hpp"

namespace persia::http {

// `%41` and `+` decoded. nullopt: a '%' that two hexadecimal digits do not follow.
std::optional<std::string> url_decoded(std::string_view text, bool plus_is_space);

struct Target {
    std::string path;  // as it came, without the query
    std::vector<std::string>
        segments;  // of the path, decoded: `/models/a%20b` has "models" and "a b"; one at the end that is empty is left out
    std::vector<std::pair<std::string, std::string>> query;

    // Null: the query has no such key.
    const std::string* parameter(std::string_view key) const;
    // Whether all of it is text. Models and handlers may take other bytes.
    bool is_utf8() const;
};

// nullopt: it is no valid target.
std::optional<Target> parse_target(std::string_view target);

// One field of a form. Its value lies in the body that was parsed.
struct Field {
    std::string name;
    std::string content_type;                           // of a file; empty: it has none
    std::variant<std::string_view, std::string> value;  // where it lies, or decoded

    std::string_view bytes() const;
};
using Fields = std::vector<Field>;

// `application/x-www-form-urlencoded`.
std::variant<Fields, Refusal> parse_urlencoded(std::string_view body);

// `multipart/form-data`. content_type: the whole header, which has the boundary.
std::variant<Fields, Refusal> parse_multipart(std::string_view content_type, std::string_view body);

// A content type without its parameters, in lower case: `text/plain` of `Text/Plain; charset=utf-8`.
std::string mime_type(std::string_view content_type);
// The value of a parameter of a header, without its quotes: of `form-data; name="a"`, for `name`. nullopt: it has none.
std::optional<std::string> header_parameter(std::string_view header, std::string_view name);

}  // namespace persia::http
