// All answers of a model server, over whichever protocol: how they came out, and a line of the access log for each.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "grpc/server_call.hpp"
#include "http/exchange.hpp"
#include "inference/access_log.hpp"

namespace persia::inference {

// Thread safety: any thread may call all of it.
class AnswerObserver final : public grpc::CallObserver {
  public:
    // log: null: none is written.
    explicit AnswerObserver(std::unique_ptr<AccessLog> log) : log_(std::move(log)) {}

    void on_end(const grpc::CallInfo& call, grpc::Code code, const grpc::Metadata& trailers) override;
    void on_answer(const http::Answered& answered, const http::Response& response);

    struct Counts {
        std::uint64_t good, client_errors, server_errors;
    };
    Counts counts() const;

  private:
    void count(int status);

    const std::unique_ptr<AccessLog> log_;
    std::atomic<std::uint64_t> good_{0}, client_errors_{0}, server_errors_{0};
};

// HTTP's status for a code of gRPC's, as gRPC's own gateways have it.
int status_of_code(grpc::Code code);

}  // namespace persia::inference
