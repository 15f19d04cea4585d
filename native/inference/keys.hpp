// TorchServe's keys: what a caller shows to predict, to manage, or to ask for new keys.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpc/guard.hpp"
#include "grpc/tokens.hpp"

namespace persia::inference {

struct Key {
    std::string text;
    std::optional<std::chrono::system_clock::time_point> until;  // nullopt: it has no end
};

// Thread safety: any thread may call all of it.
class Keys final : public grpc::Guard {
  public:
    // holder: the identity of who shows a key, if it has no certificate. needs_certificate: beside the key. check: what fails
    // for others, in TorchServe's words.
    Keys(std::string holder, bool needs_certificate, std::string check = "Authorization")
        : holder_(std::move(holder)), needs_certificate_(needs_certificate), check_(std::move(check)) {}

    // From now on these count, and no others.
    void set(const std::vector<Key>& keys);

    std::optional<std::string> identity_of(std::string_view authorization, std::string_view certificate) const override;
    // As TorchServe says it.
    grpc::Status refusal(std::string_view authorization, std::string_view certificate) const override;

  private:
    struct Entry {
        grpc::TokenDigest digest;
        std::optional<std::chrono::system_clock::time_point> until;
    };
    using Entries = std::vector<Entry>;

    const std::string holder_;
    const bool needs_certificate_;
    const std::string check_;
    mutable std::mutex mutex_;
    std::shared_ptr<const Entries> entries_ = std::make_shared<Entries>();
};

}  // namespace persia::inference
