// Waiting for several requests at once.
#pragma once

#include <span>

#include "persia/frame_call.hpp"

namespace persia {

// Advances calls until one of them is whole or has failed, or one of the descriptors can be read, or a signal comes while it
// waits, or so many seconds are over. Calls that are idle are left alone.
//
// awake: for how many seconds at most it looks for an answer again and again before it sleeps. To be woken takes tens of
// microseconds where an idle processor goes back to a hypervisor: as long as a server takes for a small lookup. Only a thread
// does so that waits alone in its process, where there is another processor, and while answers come as soon as that.
void exchange(std::span<FrameCall* const> calls, std::span<const int> descriptors, double seconds, double awake = 0);

}  // namespace persia
