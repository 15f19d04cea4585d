// The epochs that a router reads at: one for those who look up without a dense model or variant, and one for each version of a
// dense model and each variant for which somebody asks, or has asked of late.
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
    // Beyond so many the one that was asked for least recently is forgotten.
    static constexpr std::size_t kMost = 64;
    // After which a version that was not asked for is not watched any more: it may be gone, and what is kept for it takes
    // memory.
    static constexpr std::chrono::seconds kFor{10};
    // The same of variants that go with the own version, for which nothing is kept: it is for fresh rows after a pause.
    static constexpr std::chrono::minutes kVariantFor{10};

    // own: always watched, without a variant; not said: none is.
    explicit EpochChoices(const wire::RowsFor& own) : own_(own) {}

    // For a lookup of now.
    std::shared_ptr<EpochChoice> of(const wire::RowsFor& rows_for);

    // Of which a probe is to ask what they may read, and so to keep that readable.
    std::vector<wire::RowsFor> watched() const;
    // What a server has said of one of them.
    void note(const wire::RowsFor& rows_for, const wire::EpochRun& run);

  private:
    struct Bound {
        std::shared_ptr<EpochChoice> choice;
        Clock::time_point asked;
    };

    bool is_watched(const wire::RowsFor& rows_for, const Bound& bound, Clock::time_point now) const;
    void forget_the_least_recent();

    const wire::RowsFor own_;
    const std::shared_ptr<EpochChoice> free_ = std::make_shared<EpochChoice>();
    mutable std::mutex mutex_;
    std::map<wire::RowsFor, Bound> bound_;
};

}  // namespace persia::routing
