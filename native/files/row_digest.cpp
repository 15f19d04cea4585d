#include "files/row_digest.hpp"

#include <string_view>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/hash_string.hpp"
#include "base/rows.hpp"
#include "files/row_files.hpp"

namespace persia {

void RowDigest::add(std::uint64_t sign, std::span<const std::byte> values) {
    const std::string_view text(reinterpret_cast<const char*>(values.data()), values.size());
    const std::uint64_t hash = farmhash64(fingerprint64(text) ^ farmhash64(sign));
    ++rows;
    sums[0] += hash;
    sums[1] += farmhash64(hash);
}

FileDigest digest_of_file(const std::string& path, unsigned prefix_bits) {
    if (prefix_bits < 1 || prefix_bits > 63) throw InvalidInput("expected 1 to 63 prefix bits");
    const std::uint64_t mask = ~std::uint64_t{0} << (64 - prefix_bits);
    FileDigest digest;
    EmbReader reader(path);
    digest.signs.reserve(static_cast<std::size_t>(reader.rows()));
    RowBlock block;
    RowDigest* group = nullptr;  // of the row before: rows of one group come in runs
    std::uint64_t prefix = 0;
    while (reader.next(block)) {
        digest.signs.insert(digest.signs.end(), block.signs.begin(), block.signs.end());
        for (std::size_t i = 0; i < block.size(); ++i) {
            if (group == nullptr || (block.signs[i] & mask) != prefix) {
                prefix = block.signs[i] & mask;
                group = &digest.groups[prefix];
            }
            group->add(block.signs[i], {block.values[i], block.dims[i] * sizeof(float)});
        }
    }
    return digest;
}

}  // namespace persia
