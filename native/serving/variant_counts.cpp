#include "serving/variant_counts.hpp"

namespace persia::serving {

void VariantCounts::count(std::uint64_t variant) {
    const std::lock_guard lock(mutex_);
    const auto found = totals_.answered.find(variant);
    if (found != totals_.answered.end()) {
        ++found->second;
    } else {
        ++totals_.answered[totals_.answered.size() < kMost ? variant : 0];
    }
}

void VariantCounts::add_unknown() {
    const std::lock_guard lock(mutex_);
    ++totals_.unknown;
}

VariantCounts::Totals VariantCounts::totals() const {
    const std::lock_guard lock(mutex_);
    return totals_;
}

}  // namespace persia::serving
