// The token that a client shows with each of its calls.
#pragma once

#include <string>

namespace persia::grpc {

// It may change while the process runs, as that of a file that is written anew.
// Thread safety: any thread may call it.
class TokenSource {
  public:
    virtual ~TokenSource() = default;

    // Empty: none is shown.
    virtual std::string token() const = 0;
};

}  // namespace persia::grpc
