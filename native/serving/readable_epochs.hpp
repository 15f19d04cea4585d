// Which epochs a version of a dense model may read, by the commit records: those that name this version of the model, or name
// no version of it.
//
// Thread safety: immutable.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "wire/dense_id.hpp"

namespace persia::serving {

class DenseEpochs {
  public:
    // From that epoch on, records name the version; a version of 0: none of the model.
    struct Change {
        std::uint64_t epoch;
        wire::DenseId dense;
    };

    DenseEpochs() = default;
    // changes: of any models, in the order of epochs. Before the first one of a model, records name no version of it.
    explicit DenseEpochs(const std::vector<Change>& changes);

    bool may_read(const wire::DenseId& dense, std::uint64_t epoch) const;

    // The newest epochs in a row that it may read, of which at least one is from low to high. The first of them may be before
    // low. Neither: there is none.
    wire::EpochRun newest_run(const wire::DenseId& dense, std::uint64_t low, std::uint64_t high) const;

  private:
    struct Version {
        std::uint64_t since, version;
    };

    const std::vector<Version>* versions_of(std::uint64_t model) const;

    std::map<std::uint64_t, std::vector<Version>> models_;
};

}  // namespace persia::serving
