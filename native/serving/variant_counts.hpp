// How many lookups were answered for each variant, since the start.
//
// Thread safety: any thread may call all of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

namespace persia::serving {

class VariantCounts {
  public:
    // Variants that are told apart. Those that come later are counted together: names are somebody's who commits, and are not
    // to fill the memory of a server.
    static constexpr std::size_t kMost = 256;

    // A lookup that was answered with the rows of a variant, by its key; 0: of none, which is not counted here.
    void add(std::uint64_t variant) {
        if (variant != 0) count(variant);
    }
    // One that was refused, as there is no such variant.
    void add_unknown();

    struct Totals {
        std::map<std::uint64_t, std::uint64_t> answered;  // by the keys of variants; 0: of all others
        std::uint64_t unknown = 0;
    };
    Totals totals() const;

  private:
    void count(std::uint64_t variant);

    mutable std::mutex mutex_;
    Totals totals_;
};

}  // namespace persia::serving
