#include "base/number_text.hpp"

#include <charconv>
#include <cmath>
#include <string_view>

namespace persia {

void append_number(std::string& to, double value) {
    constexpr double kLeastPlain = 1e-4, kMostPlain = 1e16;
    constexpr std::size_t kMostCharacters = 32;
    const double size = std::fabs(value);
    const bool plain = size == 0 || (size >= kLeastPlain && size < kMostPlain);
    char characters[kMostCharacters];
    const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
    const auto [end, error] = std::to_chars(characters, characters + kMostCharacters, value, format);
    const std::string_view text(characters, end);
    to += text;
    if (plain && text.find('.') == std::string_view::npos) to += ".0";
}

}  // namespace persia
