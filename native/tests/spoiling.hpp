// Bytes spoiled at random, by a fixed seed: what all tests with spoiled input have in common.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>

namespace persia {

// PERSIA_FUZZ_MUTANTS, or what is usual.
inline std::size_t fuzz_mutants(std::size_t usual) {
    const char* wanted = std::getenv("PERSIA_FUZZ_MUTANTS");
    return wanted == nullptr ? usual : std::strtoull(wanted, nullptr, 10);
}

class Spoiler {
  public:
    explicit Spoiler(std::uint64_t seed) : random_(seed) {}

    std::uint64_t any() { return random_(); }
    std::size_t below(std::size_t limit) { return static_cast<std::size_t>(random_() % limit); }

    // Flips a bit, changes a byte, cuts off the rest, inserts a few equal bytes, or erases a few. Bytes: a string, or a vector.
    // REQUIRES: at < bytes.size().
    template <class Bytes>
    void spoil(Bytes& bytes, std::size_t at) {
        using Byte = typename Bytes::value_type;
        const auto here = bytes.begin() + static_cast<std::ptrdiff_t>(at);
        switch (below(5)) {
            case 0:
                bytes[at] = static_cast<Byte>(static_cast<unsigned char>(bytes[at]) ^ (1U << below(8)));
                break;
            case 1:
                bytes[at] = static_cast<Byte>(any());
                break;
            case 2:
                bytes.resize(at);
                break;
            case 3: {
                const auto byte = static_cast<Byte>(below(2) == 0 ? below(3) : any());
                bytes.insert(here, 1 + below(9), byte);
                break;
            }
            default:
                bytes.erase(here, here + static_cast<std::ptrdiff_t>(std::min(bytes.size() - at, 1 + below(12))));
        }
    }

  private:
    std::mt19937_64 random_;
};

}  // namespace persia
