#include "base/hash_string.hpp"

#include <bit>
#include <cstring>
#include <utility>

namespace persia {

namespace {

constexpr std::uint64_t k0 = 0xc3a5c85c97cb3127ULL;
constexpr std::uint64_t k1 = 0xb492b66fbe98f273ULL;
constexpr std::uint64_t k2 = 0x9ae16a3b2f90404fULL;
constexpr std::size_t kBlock = 64;  // bytes

struct Pair {
    std::uint64_t first = 0, second = 0;
};

template <class T>
T load_le(const char* at) {
    static_assert(std::endian::native == std::endian::little);
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

std::uint64_t u64(const char* at) { return load_le<std::uint64_t>(at); }

std::uint64_t shift_mix(std::uint64_t value) { return value ^ (value >> 47); }

std::uint64_t mix(std::uint64_t u, std::uint64_t v, std::uint64_t mul) {
    const std::uint64_t a = shift_mix((u ^ v) * mul);
    return shift_mix((v ^ a) * mul) * mul;
}

std::uint64_t at_most_16(const char* s, std::size_t n) {
    if (n >= 8) {
        const std::uint64_t mul = k2 + 2 * n;
        const std::uint64_t a = u64(s) + k2;
        const std::uint64_t b = u64(s + n - 8);
        return mix(std::rotr(b, 37) * mul + a, (std::rotr(a, 25) + b) * mul, mul);
    }
    if (n >= 4) {
        const std::uint64_t head = load_le<std::uint32_t>(s);
        return mix(n + (head << 3), load_le<std::uint32_t>(s + n - 4), k2 + 2 * n);
    }
    if (n == 0) return k2;
    const auto byte = [s](std::size_t i) { return static_cast<std::uint64_t>(static_cast<unsigned char>(s[i])); };
    const std::uint64_t y = byte(0) + (byte(n / 2) << 8);
    const std::uint64_t z = n + (byte(n - 1) << 2);
    return shift_mix((y * k2) ^ (z * k0)) * k2;
}

std::uint64_t at_most_32(const char* s, std::size_t n) {
    const std::uint64_t mul = k2 + 2 * n;
    const std::uint64_t a = u64(s) * k1, b = u64(s + 8), c = u64(s + n - 8) * mul, d = u64(s + n - 16) * k2;
    return mix(std::rotr(a + b, 43) + std::rotr(c, 30) + d, a + std::rotr(b + k2, 18) + c, mul);
}

std::uint64_t at_most_64(const char* s, std::size_t n) {
    const std::uint64_t mul = k2 + 2 * n;
    const std::uint64_t a = u64(s) * k2, b = u64(s + 8), c = u64(s + n - 8) * mul, d = u64(s + n - 16) * k2;
    const std::uint64_t y = std::rotr(a + b, 43) + std::rotr(c, 30) + d;
    const std::uint64_t z = mix(y, a + std::rotr(b + k2, 18) + c, mul);
    const std::uint64_t e = u64(s + 16) * mul, f = u64(s + 24);
    const std::uint64_t g = (y + u64(s + n - 32)) * mul, h = (z + u64(s + n - 24)) * mul;
    return mix(std::rotr(e + f, 43) + std::rotr(g, 30) + h, e + std::rotr(f + a, 18) + g, mul);
}

// Of 32 bytes and two seeds.
Pair weak_32(const char* s, std::uint64_t a, std::uint64_t b) {
    a += u64(s);
    b = std::rotr(b + a + u64(s + 24), 21);
    const std::uint64_t c = a;
    a += u64(s + 8) + u64(s + 16);
    b += std::rotr(a, 44);
    return {a + u64(s + 24), b + c};
}

// 56 bytes of state, into which the text is mixed block by block.
struct State {
    std::uint64_t x, y, z;
    Pair v{}, w{};

    // The last block differs from the others in its multiplier, and in how much of v and w it takes.
    void take(const char* s, std::uint64_t mul, std::uint64_t weight) {
        x = std::rotr(x + y + v.first + u64(s + 8), 37) * mul;
        y = std::rotr(y + v.second + u64(s + 48), 42) * mul;
        x ^= w.second * weight;
        y += v.first * weight + u64(s + 40);
        z = std::rotr(z + w.first, 33) * mul;
        v = weak_32(s, v.second * mul, x + w.first);
        w = weak_32(s + 32, z + w.second, y + u64(s + 16));
        std::swap(z, x);
    }
};

std::uint64_t longer(const char* s, std::size_t n) {
    constexpr std::uint64_t seed = 81;
    constexpr std::uint64_t y = seed * k1 + 113;
    State state{seed * k2 + u64(s), y, shift_mix(y * k2 + 113) * k2};
    const std::size_t rest = (n - 1) % kBlock;  // bytes after the whole blocks, less one
    const char* const end = s + (n - 1 - rest);
    const char* const last = s + n - kBlock;
    for (; s != end; s += kBlock) state.take(s, k1, 1);
    const std::uint64_t mul = k1 + ((state.z & 0xff) << 1);
    state.w.first += rest;
    state.v.first += state.w.first;
    state.w.first += state.v.first;
    state.take(last, mul, 9);
    return mix(mix(state.v.first, state.w.first, mul) + shift_mix(state.y) * k0 + state.z,
               mix(state.v.second, state.w.second, mul) + state.x, mul);
}

}  // namespace

std::uint64_t fingerprint64(std::string_view text) {
    const char* s = text.data();
    const std::size_t n = text.size();
    if (n <= 16) return at_most_16(s, n);
    if (n <= 32) return at_most_32(s, n);
    if (n <= 64) return at_most_64(s, n);
    return longer(s, n);
}

}  // namespace persia
