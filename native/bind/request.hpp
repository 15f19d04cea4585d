// What the bindings of routing and of frames share.
#pragma once

#include <nanobind/nanobind.h>

#include "plan/plan.hpp"

namespace persia::bind {

// One shard's request; its arrays keep the plan alive.
struct PyRequest {
    nanobind::object plan;
    const PlannedRequest* request;
};

}  // namespace persia::bind
