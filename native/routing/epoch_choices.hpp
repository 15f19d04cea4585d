// The epochs that a router reads at: one for those who look up without a dense model, and one for each version of a dense model
// that asks, or has asked of late.
//
// Thread safety: any thread may call all of it.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "routing/epoch_choice.hpp"

namespace persia::routing {

class EpochChoices {
  public:
    static constexpr std::size_t kMost = 64;         // versions: beyond these the one that asked least recently is forgotten
    static constexpr std::chrono::seconds kFor{10};  // after which a version that has not asked is not watched any more

    // own: always watched; not said: none is.
    explicit EpochChoices(const wire::DenseId& own) : own_(own) {}

    // For a lookup of now.
    std::shared_ptr<EpochChoice> of(const wire::DenseId& dense);

    // Of which a probe is to ask what they may read, and so to keep that readable.
    std::vector<wire::DenseId> watched() const;
    // What a server has said of one of them.
    void note(const wire::DenseId& dense, const wire::EpochRun& run);

  private:
    struct Bound {
        std::shared_ptr<EpochChoice> choice;
        Clock::time_point asked;
    };

    void forget_the_least_recent();

    const wire::DenseId own_;
    const std::shared_ptr<EpochChoice> free_ = std::make_shared<EpochChoice>();
    mutable std::mutex mutex_;
    std::map<wire::DenseId, Bound> bound_;
};

}  // namespace persia::routing
