#include "files/row_scan.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "files/row_files.hpp"

namespace persia {

namespace {

constexpr std::uint64_t kSpread = 0x9E37'79B9'7F4A'7C15;  // 2^64 divided by the golden ratio: neighbours end far apart
constexpr unsigned kFilterBitsPerSign = 16;

bool is_finite(const std::byte* values, std::uint32_t dim) {
    constexpr std::uint32_t kExponent = 0x7F80'0000;
    std::uint32_t bad = 0;
    for (std::uint32_t i = 0; i < dim; ++i) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, values + i * sizeof(float), sizeof bits);
        bad |= static_cast<std::uint32_t>((bits & kExponent) == kExponent);
    }
    return bad == 0;
}

template <class Reader>
bool scan(Reader reader, double seconds, RowScan& into) {
    const auto begin = std::chrono::steady_clock::now();
    RowBlock block;
    while (reader.next(block)) {
        into.add(block);
        if (std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() > seconds) return false;
    }
    return true;
}

}  // namespace

RowScan::RowScan(unsigned prefix_bits, std::uint64_t groups, std::vector<std::uint64_t> wanted)
    : shift_(64 - prefix_bits), groups_(groups), wanted_(std::move(wanted)) {
    if (prefix_bits < 1 || prefix_bits > 63) throw InvalidInput("expected 1 to 63 prefix bits");
    if (groups > 1'000'000) throw InvalidInput("expected at most 1000000 groups");
    if (!std::is_sorted(wanted_.begin(), wanted_.end())) throw InvalidInput("expected wanted signs in ascending order");
    by_group_.resize(groups + 2);
    const std::uint64_t bits = std::bit_ceil(std::max<std::uint64_t>(wanted_.size() * kFilterBitsPerSign, 64));
    filter_.resize(bits / 64);
    filter_shift_ = static_cast<unsigned>(64 - std::countr_zero(bits));
    for (const std::uint64_t sign : wanted_) {
        const std::uint64_t bit = sign * kSpread >> filter_shift_;
        filter_[bit / 64] |= std::uint64_t{1} << bit % 64;
    }
}

void RowScan::add(const RowBlock& block) {
    for (std::size_t i = 0; i < block.size(); ++i) {
        GroupCount& count = count_of(block.signs[i], block.dims[i]);
        ++count.rows;
        count.largest = std::max(count.largest, block.signs[i] & ((std::uint64_t{1} << shift_) - 1));
        if ((count.group == 0 || count.group > groups_) && strays.size() < kStrays) strays.push_back(block.signs[i]);
        if (!is_finite(block.values[i], block.dims[i])) ++count.non_finite;
        if (!wants(block.signs[i])) continue;
        signs.push_back(block.signs[i]);
        dims.push_back(block.dims[i]);
        const std::size_t at = values.size();
        values.resize(at + block.dims[i]);
        std::memcpy(values.data() + at, block.values[i], block.dims[i] * sizeof(float));
    }
    rows_ += block.size();
}

std::vector<GroupCount> RowScan::counts() const {
    std::vector<GroupCount> all;
    for (const std::vector<GroupCount>& counts : by_group_) all.insert(all.end(), counts.begin(), counts.end());
    return all;
}

GroupCount& RowScan::count_of(std::uint64_t sign, std::uint32_t dim) {
    const std::uint64_t group = std::min(sign >> shift_, groups_ + 1);
    std::vector<GroupCount>& counts = by_group_[group];
    for (GroupCount& count : counts) {
        if (count.dim == dim) return count;
    }
    return counts.emplace_back(GroupCount{group, dim, 0, 0, 0});
}

bool RowScan::wants(std::uint64_t sign) const {
    const std::uint64_t bit = sign * kSpread >> filter_shift_;
    return (filter_[bit / 64] >> bit % 64 & 1) != 0 && std::binary_search(wanted_.begin(), wanted_.end(), sign);
}

bool scan_file(const std::string& path, RowFile kind, double seconds, RowScan& into) {
    return kind == RowFile::checkpoint ? scan(EmbReader(path), seconds, into) : scan(IncReader(path), seconds, into);
}

}  // namespace persia
