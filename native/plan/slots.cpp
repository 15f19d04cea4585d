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

// What a hash stack or a prefix leaves no room for.
void check_rule(const Slot& slot) {
    if (slot.hash_stack_rounds > 0 && (slot.modulo != 0 || slot.ids_are_signs || slot.has_default())) {
        throw FeatureError(slot.name, "expected a hash stack without modulo, ids that are signs, or a default row");
    }
    if (slot.modulo >> 63 != 0) {
        throw FeatureError(slot.name, "expected a modulo below 2^63, got " + std::to_string(slot.modulo));
    }
    if (slot.ids_are_signs && slot.prefix != 0) throw FeatureError(slot.name, "expected ids that are signs without a prefix");
    if (slot.default_value && slot.default_id) {
        throw FeatureError(slot.name, "expected a default row of one value or of an id, got both");
    }
}

// As Python and torch have it: never negative. Ids from 2^63 on are the negative numbers of the same bits.
std::uint64_t remainder_of(std::uint64_t id, std::uint64_t modulo) {
    const auto by = static_cast<std::int64_t>(modulo);
    const std::int64_t remainder = static_cast<std::int64_t>(id) % by;
    return static_cast<std::uint64_t>(remainder < 0 ? remainder + by : remainder);
}

}  // namespace

Slots::Slots(std::vector<Slot> slots, unsigned prefix_bits) : slots_(std::move(slots)) {
    if (prefix_bits < 1 || prefix_bits > 63) {
        throw InvalidInput("expected 1 to 63 prefix bits, got " + std::to_string(prefix_bits));
    }
    shift_ = 64 - prefix_bits;
    modulus_ = (std::uint64_t{1} << shift_) - 1;
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
        check_rule(slot);
        if (!slot.ids_are_signs) last_group_ = std::max(last_group_, slot.prefix >> shift_);
        if ((slot.keep_last || slot.keep_all) && slot.summation) {
            throw FeatureError(slot.name, "expected to keep the last ids, or all of them, of raw rows only");
        }
        if (slot.keep_last && slot.keep_all) throw FeatureError(slot.name, "expected to keep the last ids or all, got both");
        most_signs_per_id_ = std::max(most_signs_per_id_, slot.signs_per_id());
        if (!by_name_.emplace(slot.name, i).second) throw FeatureError(slot.name, "the embedding config has this slot twice");
    }
}

std::uint64_t Slots::sign_of(std::uint64_t id, const Slot& slot) const {
    if (slot.modulo != 0) id = remainder_of(id, slot.modulo);
    if (!slot.ids_are_signs) return sign_of(id, slot.prefix);
    if (const std::uint64_t group = id >> shift_; group != 0 && group <= last_group_) {
        throw FeatureError(slot.name,
                           "the id " + std::to_string(id) + " would be a sign of group " + std::to_string(group - 1) +
                               " of the embedding config, because the slot has `ids_are_signs: true` and the upper " +
                               std::to_string(64 - shift_) + " bits of the id are the prefix of that group");
    }
    return id;
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
