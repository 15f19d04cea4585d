// The hash of strings, in memory of exactly their size; test_string_hash.py has the values of all lengths.
#include "base/hash_string.hpp"

#include <cstring>
#include <memory>
#include <set>
#include <string>

#include "base/hash.hpp"
#include "check.hpp"

using namespace persia;

namespace {

std::uint64_t hash_of(const std::string& text) {
    const std::unique_ptr<char[]> exact(new char[text.size()]);
    std::memcpy(exact.get(), text.data(), text.size());
    return fingerprint64({exact.get(), text.size()});
}

}  // namespace

TEST(known_values) {
    CHECK(hash_of("") == 11'160'318'154'034'397'263U);
    CHECK(hash_of("user:42") == 9'864'946'938'240'088'005U);
    CHECK(hash_of("12345678") == farmhash64(0x3837363534333231));
}

TEST(every_length_and_every_byte_counts) {
    std::set<std::uint64_t> hashes;
    std::size_t texts = 0;
    for (std::size_t size = 1; size <= 200; ++size) {
        std::string text(size, 'a');
        for (std::size_t i = 0; i < size; ++i, ++texts) {
            text[i] = '\xff';
            hashes.insert(hash_of(text));
            text[i] = 'a';
        }
    }
    CHECK(hashes.size() == texts);
}
