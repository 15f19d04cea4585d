#include "table/sign_filter.hpp"

#include <algorithm>
#include <bit>

namespace persia {

namespace {

constexpr std::uint64_t kBitsPerSign = 8;

}  // namespace

void SignFilter::fill(const Index& index) {
    const std::uint64_t bits = std::bit_ceil(std::max<std::uint64_t>(index.size() * kBitsPerSign, 64));
    words_.assign(bits >> 6, 0);
    mask_ = bits - 1;
    index.for_each([&](const Entry&, std::uint64_t sign) {
        const std::uint64_t bit = table_hash(sign) & mask_;
        words_[bit >> 6] |= std::uint64_t{1} << (bit & 63);
    });
}

}  // namespace persia
