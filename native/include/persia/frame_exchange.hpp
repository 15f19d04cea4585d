// Waiting for several requests at once.
#pragma once

#include <span>

#include "persia/frame_call.hpp"
#include "persia/vigil.hpp"

namespace persia {

// Advances calls until one of them is whole or has failed, or one of the descriptors can be read, or a signal comes while it
// sleeps, or so many seconds are over. Calls that are idle are left alone.
//
// awake: for how many seconds at most, since they were asked, it looks for an answer again and again before it sleeps. To be
// woken takes tens of microseconds where an idle processor goes back to a hypervisor: as long as a server takes for a small
// lookup. Only a thread does so that waits alone in its process, where there is another processor, and while answers come as
// soon as that. A signal that comes meanwhile does not end it, nor the sleep that follows: like one that came just before, it
// is heard when something else ends the exchange.
void exchange(std::span<FrameCall* const> calls, std::span<const int> descriptors, double seconds, double awake = 0);

// The same, with a vigil other than that of the process.
void exchange(std::span<FrameCall* const> calls, std::span<const int> descriptors, double seconds, double awake, Vigil& vigil);

}  // namespace persia
