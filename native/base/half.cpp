#include "base/half.hpp"

#include <bit>
#include <cmath>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define PERSIA_F16C __attribute__((target("avx,f16c")))
#endif

namespace persia {

namespace {

constexpr float kLargest = 65504.0F;

std::uint16_t to_half_one(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
    const float magnitude = std::fabs(value);
    if (std::isnan(value)) return static_cast<std::uint16_t>(sign | 0x7e00U | ((bits >> 13) & 0x1ffU));
    if (magnitude >= kLargest) return static_cast<std::uint16_t>(sign | 0x7bffU);
    // Below 2^-14 halves are subnormal, steps of 2^-24: let the addition of 0.5 round to the step (0.5 has ulp 2^-24).
    if (magnitude < 0x1p-14F) {
        const std::uint32_t steps = std::bit_cast<std::uint32_t>(magnitude + 0.5F) - std::bit_cast<std::uint32_t>(0.5F);
        return static_cast<std::uint16_t>(sign | steps);
    }
    std::uint32_t rounded = std::bit_cast<std::uint32_t>(magnitude);
    rounded += 0xfffU + ((rounded >> 13) & 1U);
    return static_cast<std::uint16_t>(sign | ((rounded - (112U << 23)) >> 13));
}

float from_half_one(std::uint16_t half) {
    const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
    const std::uint32_t rest = half & 0x7fffU;
    if (rest >= 0x7c00U) return std::bit_cast<float>(sign | 0x7f800000U | (rest & 0x3ffU) << 13);
    if (rest < 0x400U) return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(static_cast<float>(rest) * 0x1p-24F));
    return std::bit_cast<float>(sign | ((rest << 13) + (112U << 23)));
}

#if defined(__x86_64__)

// Not every compiler has the name of it for __builtin_cpu_supports().
bool has_f16c() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __builtin_cpu_supports("avx") != 0 && __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

const bool kHasF16c = has_f16c();

PERSIA_F16C std::size_t to_half_f16c(const float* in, std::uint16_t* out, std::size_t n) {
    const __m256 largest = _mm256_set1_ps(kLargest);
    const __m256 smallest = _mm256_set1_ps(-kLargest);
    std::size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        // NaN passes: min and max give their second operand when either is NaN.
        const __m256 value = _mm256_max_ps(smallest, _mm256_min_ps(largest, _mm256_loadu_ps(in + i)));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
    }
    return i;
}

PERSIA_F16C std::size_t from_half_f16c(const std::uint16_t* in, float* out, std::size_t n) {
    std::size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i))));
    }
    return i;
}

PERSIA_F16C std::size_t add_half_f16c(const std::uint16_t* in, float* sum, std::size_t n) {
    std::size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 value = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i)));
        _mm256_storeu_ps(sum + i, _mm256_add_ps(_mm256_loadu_ps(sum + i), value));
    }
    return i;
}

#else

constexpr bool kHasF16c = false;
std::size_t to_half_f16c(const float*, std::uint16_t*, std::size_t) { return 0; }
std::size_t from_half_f16c(const std::uint16_t*, float*, std::size_t) { return 0; }
std::size_t add_half_f16c(const std::uint16_t*, float*, std::size_t) { return 0; }

#endif

}  // namespace

void to_half(const float* in, std::uint16_t* out, std::size_t n) {
    std::size_t i = kHasF16c ? to_half_f16c(in, out, n) : 0;
    for (; i < n; ++i) out[i] = to_half_one(in[i]);
}

void from_half(const std::uint16_t* in, float* out, std::size_t n) {
    std::size_t i = kHasF16c ? from_half_f16c(in, out, n) : 0;
    for (; i < n; ++i) out[i] = from_half_one(in[i]);
}

void add_half(const std::uint16_t* in, float* sum, std::size_t n) {
    std::size_t i = kHasF16c ? add_half_f16c(in, sum, n) : 0;
    for (; i < n; ++i) sum[i] += from_half_one(in[i]);
}

}  // namespace persia
