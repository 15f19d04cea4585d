#include "grpc/guard.hpp"

#include "grpc/tokens.hpp"

namespace persia::grpc {

namespace {

class CallerGuard final : public Guard {
  public:
    CallerGuard(const std::string& token_file, bool needs_certificate) : needs_certificate_(needs_certificate) {
        if (!token_file.empty()) tokens_.emplace(token_file);
    }

    std::optional<std::string> identity_of(std::string_view authorization, std::string_view certificate) const override {
        if (needs_certificate_ && certificate.empty()) return std::nullopt;
        if (!tokens_) return std::string(certificate);
        const std::optional<TokenHolder> holder = tokens_->holder_of(bearer_token(authorization));
        if (!holder) return std::nullopt;
        if (!holder->name.empty()) return holder->name;
        return certificate.empty() ? "the token on line " + std::to_string(holder->line) : std::string(certificate);
    }

    Status refusal(std::string_view authorization, std::string_view certificate) const override {
        if (tokens_ && !certificate.empty()) {
            return {Code::unauthenticated,
                    "the caller has shown a certificate, and " +
                        std::string(authorization.empty() ? "no token" : "no token that this server knows") +
                        ": this server asks for a token" + (needs_certificate_ ? ", too" : "")};
        }
        if (tokens_ && needs_certificate_ && !authorization.empty()) {
            return {Code::unauthenticated,
                    "the caller has shown no certificate: this server asks for one that it trusts beside a token"};
        }
        return Guard::refusal(authorization, certificate);
    }

    std::string refresh() override { return tokens_ ? tokens_->refresh() : std::string(); }

  private:
    const bool needs_certificate_;
    std::optional<Tokens> tokens_;
};

}  // namespace

std::shared_ptr<Guard> guard_of(const std::string& token_file, bool needs_certificate) {
    return std::make_shared<CallerGuard>(token_file, needs_certificate);
}

}  // namespace persia::grpc
