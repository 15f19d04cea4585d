// A method that answers every request with the same message: what a call costs beside what is done for it.
#pragma once

#include <string>
#include <utility>

#include "grpc/server_call.hpp"

namespace persia::grpc {

class ConstantMethod final : public Method {
  public:
    explicit ConstantMethod(std::string answer) : answer_(std::move(answer)) {}

    void on_message(const ServerCallPtr& call, ReceivedMessage /*message*/) override { call->reply(answer_); }

  private:
    const OutgoingMessage answer_;
};

}  // namespace persia::grpc
