// CRC-32C: the values of RFC 3720, of every split, and in memory of exactly its size.
#include "base/crc32c.hpp"

#include <algorithm>
#include <memory>
#include <string>

#include "check.hpp"

using namespace persia;

namespace {

std::uint32_t crc_of(const std::string& text, std::uint32_t before = 0) {
    const std::unique_ptr<std::byte[]> exact(new std::byte[text.size()]);
    std::transform(text.begin(), text.end(), exact.get(), [](char c) { return static_cast<std::byte>(c); });
    return crc32c({exact.get(), text.size()}, before);
}

}  // namespace

TEST(known_values) {
    CHECK(crc_of("") == 0);
    CHECK(crc_of("123456789") == 0xe3069283);
    CHECK(crc_of(std::string(32, '\0')) == 0x8a9136aa);
    CHECK(crc_of(std::string(32, '\xff')) == 0x62a8ab43);
}

TEST(parts_make_the_checksum_of_the_whole) {
    std::string text;
    for (int i = 0; i < 50; ++i) text += static_cast<char>(i * 7);
    for (std::size_t middle = 0; middle <= text.size(); ++middle) {
        CHECK(crc_of(text.substr(middle), crc_of(text.substr(0, middle))) == crc_of(text));
    }
}
