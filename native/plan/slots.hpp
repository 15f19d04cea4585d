// What the embedding configuration says about each feature, as the routing kernels need it; and the way from id to sign.
//
// Thread safety: plain values, read-only once built.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/hash.hpp"

namespace persia {

struct Slot {
    std::string name;
    std::uint32_t dim = 0;
    std::uint32_t sample_fixed_size = 10;  // columns of a raw tensor
    bool summation = true;                 // pooled (batch, dim), or raw (batch, sample_fixed_size, dim + 1)
    bool sqrt_scaling = false;  // by the number of ids of a sample; of a raw tensor by that of its hash stack's rounds
    bool mean = false;          // summation only, and without sqrt_scaling
    bool weighted = false;      // summation only: ids come with weights
    bool keep_last = false;     // raw only: of too many ids of a sample the last ones count
    std::uint32_t hash_stack_rounds = 0;  // 0: ids are looked up as they are
    std::uint64_t hash_stack_size = 0;    // rows per round
    std::uint64_t prefix = 0;             // of the slot's group, in the high bits
    std::uint32_t feature = 0;            // feature_id() of the name; Slots fills it in

    bool f32 = false;            // the numbers of the tensor; else f16
    std::uint64_t modulo = 0;    // that ids are taken by, as i64 with a remainder that is not negative; 0: they are not
    bool ids_are_signs = false;  // without a prefix
    // What an id without a row counts as, if not zeros: a row of one value, or that of another id.
    std::optional<float> default_value = std::nullopt;
    std::optional<std::uint64_t> default_id = std::nullopt;
    bool keep_all = false;  // raw only: too many ids of a sample are an error of the request

    // How many signs stand for one id.
    std::uint32_t signs_per_id() const { return hash_stack_rounds == 0 ? 1 : hash_stack_rounds; }

    bool has_default() const { return default_value || default_id; }
    // Sums of f32 do not depend on the number of shards or on what else is in the batch: rows are added as the ids were sent.
    bool is_summed_in_order() const { return f32 && summation && signs_per_id() == 1; }
    // Whether it matters which of the ids of its sample an id is.
    bool has_columns() const { return !summation || weighted || is_summed_in_order(); }
};

class Slots {
  public:
    // Throws InvalidInput for a prefix_bits outside 1..63, a dim or fixed size of 0, a name twice, an empty hash stack, and for
    // what a slot cannot be at once.
    Slots(std::vector<Slot> slots, unsigned prefix_bits);

    // Null if there is none of this name.
    const Slot* find(std::string_view name) const;

    // The slot whose name is most like this one, for messages about names that are misspelled. Null if none is like it.
    const Slot* nearest(std::string_view name) const;

    // The remainder is by 2^k - 1, not 2^k: so Persia's trainers wrote their rows.
    std::uint64_t sign_of(std::uint64_t id, std::uint64_t prefix) const {
        return (id < modulus_ ? id : id % modulus_) + prefix;
    }

    // By the slot's own rule, for one without a hash stack. Throws FeatureError for an id of a slot with ids_are_signs that
    // would be a sign of a group.
    std::uint64_t sign_of(std::uint64_t id, const Slot& slot) const;

    const std::vector<Slot>& all() const { return slots_; }

    // Of the slot that makes the most of them.
    std::uint32_t most_signs_per_id() const { return most_signs_per_id_; }

  private:
    struct NameHash {
        using is_transparent = void;
        std::size_t operator()(std::string_view name) const { return std::hash<std::string_view>{}(name); }
    };

    std::vector<Slot> slots_;
    std::unordered_map<std::string, std::size_t, NameHash, std::equal_to<>> by_name_;
    std::uint64_t modulus_;
    unsigned shift_;                // of the prefixes
    std::uint64_t last_group_ = 0;  // the highest prefix, shifted down; 0: no slot has one
    std::uint32_t most_signs_per_id_ = 1;
};

}  // namespace persia
