// Text in JSON.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

#include "base/utf8.hpp"

namespace persia::inference {

// With its quotes. Text that is not UTF-8, as a header of HTTP may be, is taken for Latin-1.
inline std::string json_quoted(std::string_view text) {
    const bool is_latin1 = !is_utf8(text);
    std::string quoted = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        switch (c) {
            case '"':
                quoted += "\\\"";
                break;
            case '\\':
                quoted += "\\\\";
                break;
            case '\n':
                quoted += "\\n";
                break;
            case '\r':
                quoted += "\\r";
                break;
            case '\t':
                quoted += "\\t";
                break;
            default:
                if (byte < 0x20 || (is_latin1 && byte >= 0x80)) {
                    char escape[8];
                    std::snprintf(escape, sizeof(escape), "\\u%04x", static_cast<unsigned>(byte));
                    quoted += escape;
                } else {
                    quoted += c;
                }
        }
    }
    return quoted + '"';
}

}  // namespace persia::inference
