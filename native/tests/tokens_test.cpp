// Bearer tokens: which are taken, when they change, and which files are refused.
#include "grpc/tokens.hpp"

#include <fstream>
#include <string>

#include "base/error.hpp"
#include "certified.hpp"
#include "grpc/guard.hpp"

using certified::Folder;
using certified::has;
using persia::grpc::bearer_token;
using persia::grpc::guard_of;
using persia::grpc::Tokens;

namespace {

const std::string kOne = "0123456789abcdef", kTwo = "fedcba9876543210", kThree = "AZaz09-._~+/====";

std::string holder(const Tokens& tokens, const std::string& token) {
    const auto found = tokens.holder_of(token);
    return found ? found->name + "@" + std::to_string(found->line) : "nobody";
}

}  // namespace

TEST(tokens_have_names_comments_and_spaces) {
    Folder folder;
    const Tokens tokens(
        folder.write("tokens", "# who may ask\n\ntrainer:" + kOne + "\r\n  scorer : " + kTwo + "  \n\t" + kThree));
    CHECK(holder(tokens, kOne) == "trainer@3");
    CHECK(holder(tokens, kTwo) == "scorer@4");
    CHECK(holder(tokens, kThree) == "@5");
    CHECK(tokens.token() == kOne);
    for (const std::string& wrong : {std::string(), kOne + "0", kOne.substr(1), "trainer:" + kOne, std::string("# who may ask"),
                                     std::string(16, '\0'), std::string(100'000, 'a')}) {
        CHECK(holder(tokens, wrong) == "nobody");
    }
}

TEST(a_header_has_its_scheme) {
    CHECK(bearer_token("Bearer abc") == "abc");
    CHECK(bearer_token("bearer  abc ") == "abc");
    for (const char* other : {"", "Bearer", "Bearer ", "Basic abc", "abc", "Bearerabc"}) CHECK(bearer_token(other).empty());
}

TEST(a_file_that_is_wrong_is_refused_with_its_line_and_without_its_token) {
    Folder folder;
    const auto refusal = [&](const std::string& text) {
        try {
            Tokens(folder.write("tokens", text));
        } catch (const persia::InvalidInput& error) {
            CHECK(std::string(error.what()).find("secret") == std::string::npos);
            return std::string(error.what());
        }
        return std::string("nothing is wrong");
    };
    CHECK(has(refusal("# a\n" + kOne + "\nsecret"), "tokens, line 3: expected `TOKEN` or `NAME:TOKEN`"));
    CHECK(has(refusal("a:secret"), "got a token of 6: `openssl rand -hex 32` makes one"));
    CHECK(has(refusal("a:"), "got a token of 0"));
    CHECK(has(refusal(":secret0123456789"), "got an empty name"));
    CHECK(has(refusal("secret secret secret"), "got another character"));
    CHECK(has(refusal("a:b:secret0123456789"), "got another character"));
    CHECK(has(refusal(std::string("secret\0secret\0secret", 20)), "got another character"));
    CHECK_THROWS(Tokens(folder.at("none")), persia::IoError);
}

TEST(a_file_that_others_can_read_is_refused) {
    Folder folder;
    for (const mode_t mode : {0644, 0604, 0606}) {
        try {
            Tokens(folder.write("tokens", kOne, mode));
            CHECK(!"refused");
        } catch (const persia::InvalidInput& error) {
            CHECK(has(error.what(), "run `chmod 600 " + folder.at("tokens") + "`"));
        }
    }
}

TEST(tokens_change_with_their_file) {
    Folder folder;
    const std::string path = folder.write("tokens", "a:" + kOne);
    Tokens tokens(path);
    folder.write("tokens", "b:" + kTwo + "\na:" + kOne);
    CHECK(holder(tokens, kTwo) == "nobody");
    CHECK(tokens.refresh().empty());
    CHECK(holder(tokens, kTwo) == "b@1" && holder(tokens, kOne) == "a@2");
    CHECK(tokens.token() == kTwo);
    std::ofstream(path) << "b:" << kTwo << "\n";  // in place
    CHECK(tokens.refresh().empty());
    CHECK(holder(tokens, kOne) == "nobody" && holder(tokens, kTwo) == "b@1");
    std::ofstream(path) << "b:" << kOne << "\n";  // in place, as long, maybe within one tick of the clock
    CHECK(tokens.refresh().empty());
    CHECK(holder(tokens, kTwo) == "nobody" && holder(tokens, kOne) == "b@1");
}

TEST(a_wrong_file_leaves_the_tokens_that_were_there) {
    Folder folder;
    Tokens tokens(folder.write("tokens", kOne));
    folder.write("tokens", "short");
    CHECK(has(tokens.refresh(), "tokens, line 1"));
    CHECK(has(tokens.refresh(), "tokens, line 1"));
    CHECK(holder(tokens, kOne) == "@1");
    folder.write("tokens", kTwo, 0644);
    CHECK(has(tokens.refresh(), "chmod 600"));
    std::filesystem::remove(folder.at("tokens"));
    CHECK(has(tokens.refresh(), "tokens: No such file or directory"));
    CHECK(holder(tokens, kOne) == "@1");
    folder.write("tokens", kTwo);
    CHECK(tokens.refresh().empty());
    CHECK(holder(tokens, kOne) == "nobody" && holder(tokens, kTwo) == "@1");
}

TEST(an_empty_file_lets_nobody_in_and_says_so) {
    Folder folder;
    Tokens tokens(folder.write("tokens", "# nobody\n\n"));
    CHECK(has(tokens.refresh(), "tokens: expected at least one token, got none: nobody is let in"));
    CHECK(holder(tokens, kOne) == "nobody" && tokens.token().empty());
    CHECK(!guard_of(folder.at("tokens"), false)->identity_of("Bearer ", ""));
    folder.write("tokens", kOne);
    CHECK(tokens.refresh().empty());
    CHECK(holder(tokens, kOne) == "@1");
    folder.write("tokens", "");
    CHECK(has(tokens.refresh(), "nobody is let in"));
    CHECK(holder(tokens, kOne) == "nobody");
}

TEST(a_guard_asks_for_all_that_it_is_told_to) {
    Folder folder;
    const std::string path = folder.write("tokens", "trainer:" + kOne + "\n" + kTwo);
    const auto by_token = guard_of(path, false), by_certificate = guard_of("", true), by_both = guard_of(path, true);
    CHECK(by_token->identity_of("Bearer " + kOne, "") == "trainer");
    CHECK(by_token->identity_of("Bearer " + kTwo, "") == "the token on line 2");
    CHECK(!by_token->identity_of("", "client.pem"));
    CHECK(!by_token->identity_of("Basic " + kOne, ""));
    CHECK(!by_token->identity_of("Bearer " + kThree, ""));
    CHECK(by_certificate->identity_of("", "client") == "client");
    CHECK(!by_certificate->identity_of("Bearer " + kOne, ""));
    CHECK(by_both->identity_of("Bearer " + kOne, "client") == "trainer");
    CHECK(by_both->identity_of("Bearer " + kTwo, "client") == "client");
    CHECK(!by_both->identity_of("Bearer " + kOne, ""));
    CHECK(!by_both->identity_of("", "client"));
    folder.write("tokens", "wrong");
    CHECK(by_certificate->refresh().empty());
    CHECK(has(by_both->refresh(), "tokens, line 1"));
}
