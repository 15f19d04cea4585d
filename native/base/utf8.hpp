#pragma once

#include <cstddef>
#include <string_view>

namespace persia {

// Whether `text` is UTF-8 as Python and protobuf take it: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text);

}  // namespace persia
