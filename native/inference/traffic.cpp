#include "inference/traffic.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

namespace persia::inference {

namespace {

std::uint64_t mixed(std::uint64_t value) {  // splitmix64
    value += 0x9e3779b97f4a7c15;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return value ^ (value >> 31);
}

std::uint64_t hash_of(std::string_view text, std::uint64_t seed) {
    std::uint64_t hash = 0xcbf29ce484222325 ^ seed;  // FNV-1a
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    return mixed(hash);
}

std::uint64_t random_bits() {
    thread_local std::uint64_t state = std::random_device{}() * std::uint64_t{0x100000001} ^ std::random_device{}();
    return mixed(state++);
}

// Over 0, and under 1.
double fraction(std::uint64_t bits) { return (static_cast<double>(bits >> 11) + 0.5) / 9007199254740992.0; }

}  // namespace

const std::string& Traffic::choose(std::string_view key) const {
    // Each version draws a number for the key, and divides it by its weight; the smallest wins.
    const std::uint64_t seed = key.empty() ? random_bits() : hash_of(key, 0);
    const std::string* chosen = nullptr;
    double smallest = std::numeric_limits<double>::infinity();
    for (const auto& [version, weight] : weights) {
        const double place = weight > 0 ? -std::log(fraction(hash_of(version, seed))) / weight : smallest;
        if (chosen == nullptr || place < smallest) {
            smallest = place;
            chosen = &version;
        }
    }
    return *chosen;
}

bool Traffic::copies() const { return shadow_share >= 1 || fraction(random_bits()) < shadow_share; }

}  // namespace persia::inference
