// The service grpc.health.v1.Health: whether a server answers, and each of its services.
//
// Thread safety: any thread may call all of it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "grpc/server.hpp"

namespace persia::serving {

class Health {
  public:
    // services: full names. None of them is serving yet.
    explicit Health(const std::vector<std::string>& services);
    ~Health();

    // Its methods, Check, Watch and List. REQUIRES: the server is not started.
    void add_to(grpc::Server& server);

    // Of the whole server and of each service.
    void set_serving(bool serving);
    // Not serving from now on, whatever set_serving() says.
    void leave();

    class State;  // what its methods share

  private:
    const std::shared_ptr<State> state_;
};

}  // namespace persia::serving
