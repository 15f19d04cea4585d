// The rows that variants have of their own, over the rows of an epoch that all share.
//
// A variant is a stack of layers, which is searched before the layers of the epoch and never folded. Its layers grow like
// those of a log-structured tree: a new one is merged with older ones that are not more than twice as large, so a stack has few
// layers, and a row is copied few times.
//
// Thread safety: immutable. Its layers are shared by all snapshots in which the variant has not changed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "table/snapshot.hpp"

namespace persia {

// What a variant has in a new epoch.
struct VariantUpdate {
    std::uint64_t variant = 0;   // not 0
    std::optional<Layer> layer;  // what comes on top; nullopt: it stays as it is
    bool begins = false;         // it has nothing else: what it had before goes
};

struct VariantStatus {
    std::uint64_t rows = 0;  // and deletions, of each layer
    std::size_t layers = 0;
    std::size_t bytes = 0;
};

class Variants {
  public:
    using Stack = std::vector<std::shared_ptr<const Layer>>;  // newest first

    // Those of a new epoch: all that are in `updates`, and no others. Takes the layers out of them.
    Variants(const Variants* before, std::vector<VariantUpdate>& updates, RowStorage storage);

    // Null: there is no such variant.
    const Stack* of(std::uint64_t variant) const;

    bool empty() const { return stacks_.empty(); }
    std::map<std::uint64_t, VariantStatus> status() const;
    // The memory of the layers that are not among those counted, to which they are added.
    std::size_t bytes_beside(std::set<const Layer*>& counted) const;

  private:
    std::map<std::uint64_t, Stack> stacks_;
};

}  // namespace persia
