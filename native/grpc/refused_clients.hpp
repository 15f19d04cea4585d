// Clients that a server could not speak with: how many, and the last of them, for a log that is written now and then.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

namespace persia::grpc {

// Thread safety: any thread may call all of it.
class RefusedClients {
  public:
    void note(std::string who_and_why) {
        const std::lock_guard lock(mutex_);
        ++new_.count;
        new_.last = std::move(who_and_why);
    }

    struct Told {
        std::uint64_t count = 0;
        std::string last;  // `127.0.0.1:40312: why`
    };
    // Those since it was called before.
    Told take() {
        const std::lock_guard lock(mutex_);
        return std::exchange(new_, {});
    }

  private:
    std::mutex mutex_;
    Told new_;
};

}  // namespace persia::grpc
