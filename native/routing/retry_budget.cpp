#include "routing/retry_budget.hpp"

#include <algorithm>
#include <chrono>

namespace persia::routing {

void RetryBudget::earn() {
    const std::scoped_lock lock(mutex_);
    left_ = std::min(left_ + kShare, kAtOnce);
}

bool RetryBudget::spend(Clock::time_point now) {
    const std::scoped_lock lock(mutex_);
    if (now > refilled_) {
        const double seconds = refilled_ == Clock::time_point() ? 0 : std::chrono::duration<double>(now - refilled_).count();
        left_ = std::min(left_ + kPerSecond * seconds, kAtOnce);
        refilled_ = now;
    }
    if (left_ < 1) return false;
    left_ -= 1;
    return true;
}

}  // namespace persia::routing
