// Bearer tokens of a file, which is read again when it changes: those that a server takes, or the one that a client shows.
//
// A line is a token, or `name:token`; what begins with # is a comment. Several are for several callers, and for a change of
// tokens: a server takes the old one and the new one until all clients show the new one.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "grpc/token_source.hpp"
#include "grpc/watched_file.hpp"

namespace persia::grpc {

constexpr std::size_t kLeastTokenBytes = 16;  // shorter ones can be guessed

// The token of `Bearer TOKEN`; empty: there is none.
std::string_view bearer_token(std::string_view authorization);

// Tokens are compared by it, so that neither their lengths nor how much of them is right shows.
using TokenDigest = std::array<unsigned char, 32>;
TokenDigest digest_of(std::string_view token);
bool are_same(const TokenDigest& one, const TokenDigest& other);

struct TokenHolder {
    std::string name;  // empty: the token has none
    std::size_t line;
};

// Thread safety: any thread may use it.
class Tokens final : public TokenSource {
  public:
    // Throws IoError; InvalidInput: what others can read, or what is no token. A file without tokens is fine: nobody has one.
    explicit Tokens(const std::string& path);

    // nullopt: it is none of the file's. Takes as long for any token of that length.
    std::optional<TokenHolder> holder_of(std::string_view token) const;

    // What a client shows: the first token of the file; empty: it has none.
    std::string token() const override;

    // Reads the file again if it has changed; one that is wrong leaves the tokens that were there. Returns what is wrong, or
    // "".
    std::string refresh();

  private:
    struct Entry {
        TokenDigest digest;
        TokenHolder holder;
    };
    struct Content {
        std::vector<Entry> entries;
        std::string first;

        ~Content();
    };

    static std::shared_ptr<const Content> parse(std::string_view text, const std::string& path);
    std::shared_ptr<const Content> content() const;
    std::string emptiness() const;

    std::mutex file_mutex_;
    WatchedFile file_;
    std::string problem_;
    mutable std::mutex content_mutex_;
    std::shared_ptr<const Content> content_;
};

}  // namespace persia::grpc
