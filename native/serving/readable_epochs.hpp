// Which epochs lookups for a version of a dense model, or for a variant, may read, by the commit records: those that name this
// version of the model, or name no version of it, and have the variant.
//
// Thread safety: immutable.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "wire/rows_for.hpp"

namespace persia::serving {

class ReadableEpochs {
  public:
    // From that epoch on, records name the version of the model; a version of 0: none of it.
    struct DenseChange {
        std::uint64_t epoch, model, version;
    };

    struct Variant {
        std::string name;
        std::map<std::uint64_t, std::uint64_t> dense;  // versions of models that it has in place of the record's
    };
    // From that epoch on, there are these variants, by the fingerprints of their names, and no others.
    struct VariantsChange {
        std::uint64_t epoch;
        std::map<std::uint64_t, Variant> variants;
    };

    ReadableEpochs() = default;
    // All in the order of epochs. Before the first change of a model, records name no version of it; before the first one of
    // variants there are none.
    explicit ReadableEpochs(const std::vector<DenseChange>& dense, std::vector<VariantsChange> variants = {});

    bool may_read(const wire::RowsFor& rows_for, std::uint64_t epoch) const;

    // The newest epochs in a row that it may read, of which at least one is from low to high. The first of them may be before
    // low. Neither: there is none.
    wire::EpochRun newest_run(const wire::RowsFor& rows_for, std::uint64_t low, std::uint64_t high) const;

    // Whether the newest record has the variant; 0 always.
    bool has_variant(std::uint64_t variant) const;
    // The names of those that the newest record has, such as `b, c`, or that there is none.
    std::string variant_names() const;

  private:
    // What of a kind holds from an epoch on, until the next of that kind.
    struct NamedVersion {
        std::uint64_t since, version;
    };
    struct VariantState {
        std::uint64_t since;
        bool is_there;
        std::map<std::uint64_t, std::uint64_t> dense;
    };

    static bool fits(const wire::RowsFor& rows_for, const NamedVersion& named, const VariantState& state);

    std::map<std::uint64_t, std::vector<NamedVersion>> models_;
    std::map<std::uint64_t, std::vector<VariantState>> variants_;
    std::map<std::uint64_t, Variant> newest_;  // variants
};

}  // namespace persia::serving
