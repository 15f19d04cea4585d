// Descriptors of the system that a server waits for.
#pragma once

#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <string>
#include <system_error>

#include "base/error.hpp"
#include "grpc/metadata.hpp"

namespace persia::grpc {

[[noreturn]] inline void fail(const char* what) {
    throw IoError(what, errno, std::string(what) + ": " + std::system_category().message(errno));
}

struct Descriptor {
    explicit Descriptor(int made, const char* what) : number(made) {
        if (made < 0) fail(what);
    }
    ~Descriptor() { close(number); }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    const int number;
};

// A connection each takes one, and so does a file that is loaded meanwhile.
inline void allow_many_descriptors() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

inline epoll_event event_of(std::uint32_t events, std::uint64_t about) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = about;
    return event;
}

inline void ring(int event) {
    const std::uint64_t one = 1;
    while (write(event, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
}

// Whether somebody rang whom nobody else has heard.
inline bool hear(int event) {
    std::uint64_t count = 0;
    return read(event, &count, sizeof(count)) > 0;
}

inline timespec timespec_of(Clock::time_point time) {
    const auto since = time.time_since_epoch();
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(since);
    return {whole.count(), std::chrono::nanoseconds(since - whole).count()};
}

}  // namespace persia::grpc
