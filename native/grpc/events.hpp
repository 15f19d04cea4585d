// What has come for a server, told to one of its threads at a time.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <utility>

#include "grpc/descriptors.hpp"
#include "grpc/lead.hpp"

namespace persia::grpc {

// Thread safety: any thread may call it.
class Events {
  public:
    // Tells of these events of a descriptor, once or again and again, by the number `about`, which is not 0. False: the system
    // does not take it.
    bool watch(int descriptor, std::uint32_t events, std::uint64_t about) {
        epoll_event event = event_of(events, about);
        return epoll_ctl(epoll_.number, EPOLL_CTL_ADD, descriptor, &event) == 0;
    }

    // Tells once more. Fails only for a descriptor that was closed meanwhile.
    void watch_again(int descriptor, std::uint32_t events, std::uint64_t about) {
        epoll_event event = event_of(events | EPOLLONESHOT, about);
        epoll_ctl(epoll_.number, EPOLL_CTL_MOD, descriptor, &event);
    }

    // Waits for the next event. The thread that gets it keeps the lead, for what is done sooner than somebody else is woken;
    // unless there is more to be done.
    std::uint64_t next() {
        lead_.take();
        if (left_over_ != 0) return std::exchange(left_over_, 0);
        std::array<epoll_event, 2> events{};
        int count = 0;
        while (count <= 0) count = epoll_wait(epoll_.number, events.data(), events.size(), -1);
        if (count > 1) {
            left_over_ = events[1].data.u64;
            lead_.give_up();
        }
        return events[0].data.u64;
    }

    // This thread is about to do what takes a while: another one waits for events.
    void give_up_lead() { lead_.give_up(); }

  private:
    const Descriptor epoll_{epoll_create1(EPOLL_CLOEXEC), "epoll"};
    Lead lead_;
    std::uint64_t left_over_ = 0;  // came with another event; whoever has the lead takes it
};

}  // namespace persia::grpc
