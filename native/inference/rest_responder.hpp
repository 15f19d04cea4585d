// Answers a request over HTTP with what a handler says.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "http/exchange.hpp"
#include "inference/job.hpp"
#include "inference/models.hpp"
#include "net/reactor.hpp"

namespace persia::inference {

// How a protocol over HTTP tells of failures.
struct RestManners {
    http::Response (*failure)(const Failure&);
    http::Response (*bad_request)(const std::string& message);
    http::Response (*not_found)(const NotServed&);
    bool errors_close;  // whether the connection ends with an error of a handler
};

constexpr const char* kNoTextInTarget = "expected a target that is UTF-8 when it is decoded, got other bytes";

class RestResponder final : public Responder {
  public:
    RestResponder(http::ExchangePtr exchange, std::string request_id, const RestManners& manners)
        : exchange_(std::move(exchange)), request_id_(std::move(request_id)), manners_(manners) {}

    bool has_ended() const override { return exchange_->has_ended(); }
    void on_prediction(Prediction prediction, bool more) override;
    void on_failure(const Failure& failure) override;

  private:
    const http::ExchangePtr exchange_;
    const std::string request_id_;
    const RestManners manners_;
    std::atomic<bool> began_{false};  // it may be late when a handler answers
};

// Tells who waits that it is over, unless the answer has begun by then.
void watch_deadline(net::Reactor& reactor, Clock::time_point deadline, const std::shared_ptr<Responder>& responder);

}  // namespace persia::inference
