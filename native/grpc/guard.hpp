// Who may call.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "grpc/status.hpp"

namespace persia::grpc {

// Thread safety: any thread may call it.
class Guard {
  public:
    virtual ~Guard() = default;

    // The identity of who calls; nullopt: it is refused, with refusal(). To be asked for each call, as certificates and
    // tokens come to their ends while a connection lives.
    //
    // authorization: the header; empty: none. certificate: the name that the client has proved by it; empty: none.
    virtual std::optional<std::string> identity_of(std::string_view authorization, std::string_view certificate) const = 0;

    // What those hear who are refused, by what they have shown.
    virtual Status refusal(std::string_view /*authorization*/, std::string_view /*certificate*/) const {
        return {Code::unauthenticated, "the caller has shown neither a token that this server knows nor a certificate"};
    }

    // Reads its files again if they have changed. Files that are wrong leave what was there. Returns what is wrong, or "".
    virtual std::string refresh() { return {}; }
};

// What it asks for it asks for together: a token and a certificate where both are wanted. The identity is the token's name,
// else the certificate's, else the token's line.
//
// token_file: empty: no token is asked for. Throws IoError, InvalidInput.
std::shared_ptr<Guard> guard_of(const std::string& token_file, bool needs_certificate);

}  // namespace persia::grpc
