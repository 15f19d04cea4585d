#include "inference/keys.hpp"

namespace persia::inference {

namespace {

// Spelled so, and in no other way, as TorchServe wants it.
constexpr std::string_view kScheme = "Bearer ";

}  // namespace

void Keys::set(const std::vector<Key>& keys) {
    auto entries = std::make_shared<Entries>();
    for (const Key& key : keys) entries->push_back({grpc::digest_of(key.text), key.until});
    const std::lock_guard lock(mutex_);
    entries_ = std::move(entries);
}

std::optional<std::string> Keys::identity_of(std::string_view authorization, std::string_view certificate) const {
    if (needs_certificate_ && certificate.empty()) return std::nullopt;
    if (!authorization.starts_with(kScheme)) return std::nullopt;
    const std::string_view shown = grpc::bearer_token(authorization);
    if (shown.empty()) return std::nullopt;
    const grpc::TokenDigest digest = grpc::digest_of(shown);
    std::shared_ptr<const Entries> entries;
    {
        const std::lock_guard lock(mutex_);
        entries = entries_;
    }
    const Entry* found = nullptr;
    for (const Entry& entry : *entries) {
        if (grpc::are_same(entry.digest, digest)) found = &entry;
    }
    if (found == nullptr || (found->until && *found->until <= std::chrono::system_clock::now())) return std::nullopt;
    return certificate.empty() ? holder_ : std::string(certificate);
}

grpc::Status Keys::refusal(std::string_view /*authorization*/, std::string_view /*certificate*/) const {
    return {grpc::Code::permission_denied,
            "Token " + check_ + " failed. Token either incorrect, expired, or not provided correctly"};
}

}  // namespace persia::inference
