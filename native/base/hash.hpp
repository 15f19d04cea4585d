// The two hash functions: Persia's, which decides where a row lives, and the table's own, which decides where it lies.
#pragma once

#include <bit>
#include <cstdint>

namespace persia {

// Google FarmHash's Hash64 of the 8 little-endian bytes of `value`. Persia shards and hash-stacks with it.
inline std::uint64_t farmhash64(std::uint64_t value) {
    constexpr std::uint64_t k2 = 0x9ae16a3b2f90404fULL;
    constexpr std::uint64_t mul = k2 + 16;
    const std::uint64_t a = value + k2;
    const std::uint64_t c = std::rotr(value, 37) * mul + a;
    const std::uint64_t d = (std::rotr(a, 25) + value) * mul;
    std::uint64_t x = (c ^ d) * mul;
    x ^= x >> 47;
    std::uint64_t y = (d ^ x) * mul;
    y ^= y >> 47;
    return y * mul;
}

inline std::uint32_t shard_of(std::uint64_t sign, std::uint32_t shards) {
    return static_cast<std::uint32_t>(farmhash64(sign) % shards);
}

// shard_of for one number of shards. Dividing anew for each sign took half of the time of planning a batch.
class ShardOf {
  public:
    explicit ShardOf(std::uint32_t shards) : shards_(shards), inverse_(~std::uint64_t{0} / shards) {}

    std::uint32_t operator()(std::uint64_t sign) const {
        __extension__ using u128 = unsigned __int128;
        const std::uint64_t hash = farmhash64(sign);
        // inverse_ is at most 1 below 2^64 / shards, so this is hash / shards, or one less.
        const auto quotient = static_cast<std::uint64_t>(static_cast<u128>(hash) * inverse_ >> 64);
        const std::uint64_t rest = hash - quotient * shards_;
        // Without a branch, which would be taken for every other sign at random.
        const std::uint64_t too_much = shards_ & (0 - static_cast<std::uint64_t>(rest >= shards_));
        return static_cast<std::uint32_t>(rest - too_much);
    }

  private:
    std::uint64_t shards_;
    std::uint64_t inverse_;
};

// Mixes all bits of `sign` into all bits of the result. Not farmhash64: a shard holds only signs that agree in that one.
inline std::uint64_t table_hash(std::uint64_t sign) {
    __extension__ using u128 = unsigned __int128;
    const u128 product = static_cast<u128>(sign ^ 0x9e3779b97f4a7c15ULL) * 0xd6e8feb86659fd93ULL;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

}  // namespace persia
