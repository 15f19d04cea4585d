// Conversions between f32 and IEEE half precision, in bulk; the vector unit does them where the processor has F16C.
#pragma once

#include <cstddef>
#include <cstdint>

namespace persia {

// in (n) -> out (n), to nearest even. What is too large for f16, infinities included, becomes +-65504, because an infinity
// turns every score that it touches into NaN. NaN stays NaN.
void to_half(const float* in, std::uint16_t* out, std::size_t n);

// in (n) -> out (n), exact.
void from_half(const std::uint16_t* in, float* out, std::size_t n);

// sum (n) += in (n).
void add_half(const std::uint16_t* in, float* sum, std::size_t n);

}  // namespace persia
