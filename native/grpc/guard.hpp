// Who may call.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace persia::grpc {

// Thread safety: any thread may call it.
class Guard {
  public:
    virtual ~Guard() = default;

    // The identity of who calls; nullopt: it is refused, as UNAUTHENTICATED.
    //
    // authorization: the header; empty: none. certificate: the name that the client has proved by it; empty: none.
    virtual std::optional<std::string> identity_of(std::string_view authorization, std::string_view certificate) const = 0;
};

}  // namespace persia::grpc
