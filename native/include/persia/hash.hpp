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
    explicit ShardOf(std::uint32_t shards) : shards_(shards), inverse_(~u128{0} / shards + 1) {}

    std::uint32_t operator()(std::uint64_t sign) const {
        // The fraction of hash / shards in 128 bits, times shards: exact, for the hash has 64 bits and shards 32 (Lemire et
        // al.).
        const u128 fraction = inverse_ * farmhash64(sign);
        const u128 low = static_cast<u128>(static_cast<std::uint64_t>(fraction)) * shards_;
        const u128 high = (fraction >> 64) * shards_;
        return static_cast<std::uint32_t>((high + (low >> 64)) >> 64);
    }

  private:
    __extension__ using u128 = unsigned __int128;

    std::uint32_t shards_;
    u128 inverse_;  // 2^128 / shards, rounded up; 0 for one shard, as it should be
};

// Mixes all bits of `sign` into all bits of the result. Not farmhash64: a shard holds only signs that agree in that one.
inline std::uint64_t table_hash(std::uint64_t sign) {
    __extension__ using u128 = unsigned __int128;
    const u128 product = static_cast<u128>(sign ^ 0x9e3779b97f4a7c15ULL) * 0xd6e8feb86659fd93ULL;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

}  // namespace persia
