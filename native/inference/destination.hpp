// Where a request goes: to a version, and perhaps as a copy to another one.
#pragma once

#include <memory>

#include "inference/model_version.hpp"

namespace persia::inference {

struct Destination {
    std::shared_ptr<ModelVersion> version;
    std::shared_ptr<ModelVersion> shadow = nullptr;  // null: nobody gets a copy

    // The job's responder is told, now or later. What the shadow answers, or that it fails, is heard by nobody.
    void submit(Job job) const;
};

}  // namespace persia::inference
