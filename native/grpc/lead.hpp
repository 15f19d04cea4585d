// Which one of several threads waits for events: the others stand in line for it. If all of them waited, each packet of a large
// request would wake one more of them for nothing, until the first one has begun to read.
#pragma once

#include <mutex>

namespace persia::grpc {

// Thread safety: any thread may call it.
class Lead {
  public:
    // Waits until nobody else has the lead. Who has it already keeps it.
    void take() {
        if (leads_ == this) return;
        mutex_.lock();
        leads_ = this;
    }

    // Lets the next one in line wait for events meanwhile. Who does not have the lead has nothing to give.
    void give_up() {
        if (leads_ != this) return;
        leads_ = nullptr;
        mutex_.unlock();
    }

  private:
    static inline thread_local const Lead* leads_ = nullptr;  // whose lead this thread has
    std::mutex mutex_;
};

}  // namespace persia::grpc
