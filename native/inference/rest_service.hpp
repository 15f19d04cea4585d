// TorchServe's REST API: predictions are answered from the workers, and everything else stands in a line for the server's
// Python.
#pragma once

#include <memory>
#include <string>

#include "http/exchange_queue.hpp"
#include "inference/models.hpp"

namespace persia::inference {

// Thread safety: any thread may call all of it.
class RestService final : public http::Service {
  public:
    // models: null: predictions are not answered here, as by a listener for management.
    RestService(std::shared_ptr<const Models> models, std::shared_ptr<http::ExchangeQueue> others)
        : models_(std::move(models)), others_(std::move(others)) {}

    void on_request(const http::ExchangePtr& exchange) override;
    http::Response refuse(const http::Refusal& refusal) const override;

  private:
    const std::shared_ptr<const Models> models_;
    const std::shared_ptr<http::ExchangeQueue> others_;
};

// An error as TorchServe writes it: JSON with the status, a type that is named like its Java class, and a message.
http::Response error_response(int status, const std::string& type, const std::string& message);

}  // namespace persia::inference
