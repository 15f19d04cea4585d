#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace persia {

// Whether `text` is UTF-8 as Python and protobuf take it: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text);

// The text in UTF-8, and not more than so many bytes of it. Where it is none, what is no ASCII stands there as `?`.
std::string as_utf8(std::string_view text, std::size_t most);

}  // namespace persia
