// Clients that a server could not speak with: how many, the last of them, and some of them, for a log that is written now and
// then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace persia::grpc {

// Thread safety: any thread may call all of it.
class RefusedClients {
  public:
    static constexpr std::size_t kMostFirst = 64;

    void note(std::string who_and_why) {
        const std::lock_guard lock(mutex_);
        ++new_.count;
        if (new_.first.size() < kMostFirst) new_.first.push_back(who_and_why);
        new_.last = std::move(who_and_why);
    }

    struct Told {
        std::uint64_t count = 0;
        std::string last;                // `127.0.0.1:40312: why`
        std::vector<std::string> first;  // at most kMostFirst of them
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
