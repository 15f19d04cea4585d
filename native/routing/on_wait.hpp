// What somebody does now and then who waits for long.
#pragma once

#include <chrono>
#include <functional>

#include "grpc/metadata.hpp"

namespace persia::routing {

// Also done when a signal has come; what it throws ends the wait.
struct OnWait {
    std::function<void()> look = {};
    grpc::Clock::duration every = std::chrono::milliseconds(500);
};

}  // namespace persia::routing
