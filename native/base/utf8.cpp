#include "base/utf8.hpp"

#include <algorithm>

namespace persia {

bool is_utf8(std::string_view text) {
    const auto at = [text](std::size_t i) -> unsigned { return static_cast<unsigned char>(text[i]); };
    for (std::size_t i = 0; i < text.size();) {
        const unsigned lead = at(i);
        if (lead < 0x80) {
            ++i;
            continue;
        }
        std::size_t more = 0;
        unsigned low = 0x80, high = 0xBF;  // of the second byte: where overlong forms and surrogates show
        if (lead >= 0xC2 && lead <= 0xDF) {
            more = 1;
        } else if (lead >= 0xE0 && lead <= 0xEF) {
            more = 2;
            if (lead == 0xE0) low = 0xA0;
            if (lead == 0xED) high = 0x9F;
        } else if (lead >= 0xF0 && lead <= 0xF4) {
            more = 3;
            if (lead == 0xF0) low = 0x90;
            if (lead == 0xF4) high = 0x8F;
        } else {
            return false;
        }
        if (text.size() - i <= more) return false;
        if (at(i + 1) < low || at(i + 1) > high) return false;
        for (std::size_t k = 2; k <= more; ++k) {
            if (at(i + k) < 0x80 || at(i + k) > 0xBF) return false;
        }
        i += more + 1;
    }
    return true;
}

std::string as_utf8(std::string_view text, std::size_t most) {
    const auto begins = [text](std::size_t i) { return (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80; };
    std::size_t size = std::min(text.size(), most);
    if (size < text.size()) {  // not in the middle of a letter, which has four bytes at most
        for (std::size_t back = 0; back < 4 && size > 0 && !begins(size); ++back) --size;
    }
    std::string told(text.substr(0, size));
    if (!is_utf8(told)) {
        std::ranges::replace_if(told, [](char c) { return static_cast<unsigned char>(c) >= 0x80; }, '?');
    }
    return told;
}

}  // namespace persia
