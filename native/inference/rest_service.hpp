// TorchServe's REST API: predictions are answered from the workers, and everything else stands in a line for the server's
// Python.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "http/exchange_queue.hpp"
#include "inference/answer_observer.hpp"
#include "inference/models.hpp"
#include "inference/rest_access.hpp"
#include "net/reactor.hpp"

namespace persia::inference {

struct RestParts {
    std::shared_ptr<const Models> models;  // null: predictions are not answered here, as by a listener for management
    std::shared_ptr<http::ExchangeQueue> others;
    RestAccess access;
    std::shared_ptr<AnswerObserver> answers;  // null: nobody counts
};

// Thread safety: any thread may call all of it.
class RestService final : public http::Service {
  public:
    RestService(RestParts parts, net::Reactor& reactor) : parts_(std::move(parts)), reactor_(reactor) {}

    void on_request(const http::ExchangePtr& exchange) override;
    std::variant<std::string, http::Response> admit(const http::RequestHead& head, std::string_view certificate) const override;
    http::Response refuse(const http::Refusal& refusal) const override;
    void complete(const http::Answered& answered, http::Response& response) const override;

  private:
    const RestParts parts_;
    net::Reactor& reactor_;
};

}  // namespace persia::inference
