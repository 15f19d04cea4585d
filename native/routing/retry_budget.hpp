// How many calls may be asked twice: so few that a service that is overloaded is not asked for much more.
#pragma once

#include <mutex>

#include "grpc/metadata.hpp"

namespace persia::routing {

using grpc::Clock;

// A tenth of all calls, at least some each second, and some at once where many fail together.
// Thread safety: any thread may call all of it.
class RetryBudget {
  public:
    static constexpr double kShare = 0.1;
    static constexpr double kPerSecond = 10;
    static constexpr double kAtOnce = 100;

    // A call is asked for the first time.
    void earn();
    // False: no more may be asked again.
    bool spend(Clock::time_point now);

  private:
    std::mutex mutex_;
    double left_ = kAtOnce;
    Clock::time_point refilled_{};
};

}  // namespace persia::routing
