// A call to a method, without a server, and what became of it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "grpc/server_call.hpp"
#include "messages.hpp"

namespace persia {

class FakeCall final : public grpc::ServerCall {
  public:
    explicit FakeCall(std::shared_ptr<grpc::MemoryBudget> budget = nullptr) : budget_(std::move(budget)) {
        call_info.arrived = grpc::Clock::now();
    }

    const grpc::CallInfo& info() const override { return call_info; }
    bool has_ended() const override {
        ++looks;
        return ended;
    }
    void send(grpc::OutgoingMessage message) override { sent = std::move(message); }
    void add_trailer(std::string key, std::string value) override { added.emplace_back(std::move(key), std::move(value)); }
    void finish(grpc::Status how, grpc::Metadata with) override {
        status = std::move(how);
        trailers = std::move(with);
        trailers.insert(trailers.end(), added.begin(), added.end());
        ended = true;
    }
    void reply(grpc::OutgoingMessage message) override {
        send(std::move(message));
        finish({}, {});
    }
    std::size_t unsent() const override { return 0; }
    void when_unsent_below(std::size_t, std::function<void()> tell) override { tell(); }
    bool reserve(grpc::Reservation& reservation, std::size_t bytes) override {
        if (!reservation.bytes()) reservation = grpc::Reservation(budget_);
        return reservation.grow_to(bytes);
    }

    grpc::CallInfo call_info;
    std::atomic<bool> ended = false;
    mutable std::atomic<int> looks = 0;  // of those who want to know that
    std::optional<grpc::OutgoingMessage> sent;
    grpc::Status status;
    grpc::Metadata trailers, added;

  private:
    std::shared_ptr<grpc::MemoryBudget> budget_;
};

inline std::shared_ptr<FakeCall> call_with(grpc::Method& method, std::span<const std::byte> message,
                                           std::shared_ptr<grpc::MemoryBudget> budget = nullptr) {
    auto call = std::make_shared<FakeCall>(std::move(budget));
    method.on_message(call, received(message));
    return call;
}

}  // namespace persia
