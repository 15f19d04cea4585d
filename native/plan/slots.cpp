#include "plan/slots.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.hpp"
#include "table/feature_counts.hpp"
#include "table/row_storage.hpp"

namespace persia {
namespace {

constexpr std::size_t kLongestCompared = 64;  // names of callers: a long one must not take long

// How many letters must be put in, left out or exchanged to make one name of the other (Levenshtein).
std::size_t distance(std::string_view one, std::string_view other) {
    std::vector<std::size_t> row(other.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < one.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i + 1);
        for (std::size_t j = 0; j < other.size(); ++j) {
            const std::size_t exchanged = diagonal + (one[i] == other[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({exchanged, row[j] + 1, row[j + 1] + 1});
        }
    }
    return row.back();
}

}  // namespace

Slots::Slots(std::vector<Slot> slots, unsigned prefix_bits) : slots_(std::move(slots)) {
    if (prefix_bits < 1 || prefix_bits > 63) {
        throw InvalidInput("expected 1 to 63 prefix bits, got " + std::to_string(prefix_bits));
    }
    modulus_ = (std::uint64_t{1} << (64 - prefix_bits)) - 1;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
        Slot& slot = slots_[i];
        slot.feature = feature_id(slot.name);
        if (slot.dim == 0 || slot.dim > kMaxDim) {
            throw FeatureError(slot.name, "expected a dim of 1 to 65535, got " + std::to_string(slot.dim));
        }
        if (slot.sample_fixed_size == 0 || slot.sample_fixed_size > 65'535) {
            throw FeatureError(slot.name,
                               "expected a sample_fixed_size of 1 to 65535, got " + std::to_string(slot.sample_fixed_size));
        }
        if (slot.hash_stack_rounds > 0 && slot.hash_stack_size == 0) {
            throw FeatureError(slot.name, "expected an embedding_size of at least 1 for its hash stack, got 0");
        }
        if (slot.mean && (!slot.summation || slot.sqrt_scaling)) {
            throw FeatureError(slot.name, "expected a mean of pooled rows, without sqrt scaling");
        }
        if (slot.weighted && !slot.summation) throw FeatureError(slot.name, "expected weights of pooled rows only");
        if (slot.keep_last && slot.summation) throw FeatureError(slot.name, "expected to keep the last ids of raw rows only");
        most_signs_per_id_ = std::max(most_signs_per_id_, slot.signs_per_id());
        if (!by_name_.emplace(slot.name, i).second) throw FeatureError(slot.name, "the embedding config has this slot twice");
    }
}

const Slot* Slots::find(std::string_view name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : &slots_[found->second];
}

const Slot* Slots::nearest(std::string_view name) const {
    if (name.size() > kLongestCompared) return nullptr;
    const Slot* nearest = nullptr;
    std::size_t least = name.size() / 3 + 1;  // further off than that, two names have nothing to do with each other
    for (const Slot& slot : slots_) {
        const std::size_t longer = std::max(name.size(), slot.name.size()), shorter = std::min(name.size(), slot.name.size());
        if (longer - shorter > least) continue;
        const std::size_t found = distance(name, slot.name);
        if (found < least || (found == least && nearest == nullptr)) {
            least = found;
            nearest = &slot;
        }
    }
    return nearest;
}

}  // namespace persia
