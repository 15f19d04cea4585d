#include "grpc/tokens.hpp"

#include <openssl/crypto.h>
#include <strings.h>

#include "base/error.hpp"
#include "grpc/openssl.hpp"

namespace persia::grpc {

namespace {

constexpr std::string_view kScheme = "Bearer ";
constexpr std::string_view kSpace = " \t\r";
// What RFC 6750 allows in a token. A name ends at its colon.
constexpr std::string_view kTokenCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=";

std::string_view trimmed(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(kSpace);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

[[noreturn]] void refuse(const std::string& path, std::size_t line, const std::string& got) {  // never the token itself
    throw InvalidInput(path + ", line " + std::to_string(line) +
                       ": expected `TOKEN` or `NAME:TOKEN` with a token of at least " + std::to_string(kLeastTokenBytes) +
                       " letters, digits and -._~+/=, got " + got + ": `openssl rand -hex 32` makes one");
}

}  // namespace

std::string_view bearer_token(std::string_view authorization) {
    if (authorization.size() < kScheme.size() || ::strncasecmp(authorization.data(), kScheme.data(), kScheme.size()) != 0)
        return {};
    return trimmed(authorization.substr(kScheme.size()));
}

TokenDigest digest_of(std::string_view token) {
    static const EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);  // threads may want it to the very end
    TokenDigest digest{};
    if (sha256 == nullptr || EVP_Digest(token.data(), token.size(), digest.data(), nullptr, sha256, nullptr) != 1) {
        throw InvalidInput("OpenSSL cannot compute SHA-256: " + openssl_error());
    }
    return digest;
}

bool are_same(const TokenDigest& one, const TokenDigest& other) {
    return CRYPTO_memcmp(one.data(), other.data(), one.size()) == 0;
}

Tokens::Content::~Content() { OPENSSL_cleanse(first.data(), first.size()); }

Tokens::Tokens(const std::string& path) : file_(path, WatchedFile::Kind::secret) {
    start_openssl();
    std::string text = file_.read();
    content_ = parse(text, path);
    OPENSSL_cleanse(text.data(), text.size());
    problem_ = emptiness();
}

std::optional<TokenHolder> Tokens::holder_of(std::string_view token) const {
    if (token.empty()) return std::nullopt;
    const std::shared_ptr<const Content> now = content();
    const TokenDigest digest = digest_of(token);
    const Entry* found = nullptr;
    for (const Entry& entry : now->entries) {
        if (are_same(entry.digest, digest)) found = &entry;
    }
    return found != nullptr ? std::optional(found->holder) : std::nullopt;
}

std::string Tokens::token() const { return content()->first; }

std::string Tokens::refresh() {
    const std::lock_guard lock(file_mutex_);
    if (!file_.has_changed()) return problem_;
    try {
        std::string text = file_.read();
        std::shared_ptr<const Content> fresh = parse(text, file_.path());
        OPENSSL_cleanse(text.data(), text.size());
        {
            const std::lock_guard content_lock(content_mutex_);
            content_.swap(fresh);
        }
        problem_ = emptiness();
    } catch (const IoError& error) {
        problem_ = error.path + ": " + error.what();
    } catch (const InvalidInput& error) {
        problem_ = error.what();
    }
    return problem_;
}

std::shared_ptr<const Tokens::Content> Tokens::parse(std::string_view text, const std::string& path) {
    auto content = std::make_shared<Content>();
    for (std::size_t number = 1; !text.empty(); ++number) {
        const std::size_t end = text.find('\n');
        const std::string_view line = trimmed(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        if (line.empty() || line.front() == '#') continue;
        const std::size_t colon = line.find(':');
        const bool named = colon != std::string_view::npos;
        const std::string_view name = named ? trimmed(line.substr(0, colon)) : std::string_view();
        const std::string_view token = named ? trimmed(line.substr(colon + 1)) : line;
        if (named && name.empty()) refuse(path, number, "an empty name");
        if (token.find_first_not_of(kTokenCharacters) != std::string_view::npos) refuse(path, number, "another character");
        if (token.size() < kLeastTokenBytes) refuse(path, number, "a token of " + std::to_string(token.size()));
        content->entries.push_back({digest_of(token), {std::string(name), number}});
        if (content->first.empty()) content->first = token;
    }
    return content;
}

std::shared_ptr<const Tokens::Content> Tokens::content() const {
    const std::lock_guard lock(content_mutex_);
    return content_;
}

std::string Tokens::emptiness() const {
    return content()->entries.empty() ? file_.path() + ": expected at least one token, got none: nobody is let in"
                                      : std::string();
}

}  // namespace persia::grpc
