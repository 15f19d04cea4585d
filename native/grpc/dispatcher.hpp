// Who works on what has come over a connection: the thread that read it, or others.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "grpc/server_connection.hpp"
#include "grpc/work_queue.hpp"

namespace persia::grpc {

// Thread safety: any thread may call it.
class Dispatcher {
  public:
    using CallPtr = std::shared_ptr<ConnectedCall>;

    // before_long_work: this thread is about to do what takes a while. call_for_help: there is work in line that nobody is at.
    // watch_deadline: a call goes on.
    Dispatcher(WorkQueue& work, std::function<void()> before_long_work, std::function<void()> call_for_help,
               std::function<void(const CallPtr&)> watch_deadline)
        : work_(work), before_long_work_(std::move(before_long_work)), call_for_help_(std::move(call_for_help)),
          watch_deadline_(std::move(watch_deadline)) {}

    // Gives events to the methods of their calls. Returns when those are answered that this thread answers.
    void give_out(ServerConnection& connection, std::vector<CallEvent> events);

  private:
    void tell(CallEvent event);
    Work work_for(CallEvent event, std::size_t bytes);

    WorkQueue& work_;
    const std::function<void()> before_long_work_, call_for_help_;
    const std::function<void(const CallPtr&)> watch_deadline_;
};

}  // namespace persia::grpc
