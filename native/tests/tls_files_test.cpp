// Files of certificates and keys: which are refused, and what is said of them.
#include <string>

#include "base/error.hpp"
#include "certified.hpp"

using namespace certified;

TEST(files_that_are_of_no_use_are_refused_by_name) {
    Folder folder;
    const Authority authority;
    const Certified made = authority.server({"localhost"}), other = authority.server({"localhost"});
    const std::string ca = folder.write("ca.pem", authority.made.certificate);
    const auto refusal = [&](const TlsFiles& files) {
        try {
            TlsContext::for_server(files);
        } catch (const persia::InvalidInput& error) {
            return std::string(error.what());
        } catch (const persia::IoError& error) {
            return error.path + ": " + error.what();
        }
        return std::string("nothing is wrong");
    };
    const std::string certificate = folder.write("server.pem", made.certificate, 0644);
    const std::string key = folder.write("key.pem", made.key);
    CHECK(refusal({certificate, key, ca}) == "nothing is wrong");
    CHECK(has(refusal({"", "", ca}), "expected the certificate of a server, got none"));
    CHECK(has(refusal({certificate, "", ca}), "a certificate and its key must be given together"));
    CHECK(has(refusal({folder.at("none.pem"), key, ca}), "none.pem: No such file or directory"));
    CHECK(has(refusal({certificate, folder.at(""), ca}), ": Is a directory"));
    CHECK(has(refusal({key, key, ca}), "key.pem: expected certificates in PEM, got no `-----BEGIN CERTIFICATE-----`"));
    CHECK(has(refusal({certificate, folder.write("k", made.certificate), ca}), "got no `-----BEGIN PRIVATE KEY-----`"));
    CHECK(has(refusal({certificate, folder.write("k", other.key), ca}),
              "/k: expected the key of the certificate in " + certificate));
    CHECK(has(refusal({certificate, key, folder.write("c", "no CA")}), "/c: expected certificates in PEM"));
    std::string spoiled = made.certificate;
    spoiled[100] = '!';
    CHECK(has(refusal({folder.write("s", spoiled), key, ca}), "/s: expected certificates in PEM, got one that cannot be read"));
    CHECK(has(refusal({folder.write("s", made.certificate + spoiled), key, ca}), "got one that cannot be read"));
    const Certified old = authority.server({"localhost"}, hours(-40, -20)),
                    early = authority.server({"localhost"}, hours(2, 3));
    CHECK(has(refusal(files_of(folder, "old", old, ca)), "/old.pem: the certificate has expired on 2"));
    CHECK(has(refusal(files_of(folder, "early", early, ca)), "/early.pem: the certificate is not valid before 2"));
    CHECK(has(refusal({certificate, folder.write("large", std::string(2 << 20, 'x')), ca}), "expected at most 1048576 bytes"));
}

TEST(a_key_that_others_can_read_is_refused) {
    Folder folder;
    const Authority authority;
    const Certified made = authority.server({"localhost"});
    TlsFiles files = files_of(folder, "server", made, "");
    for (const mode_t mode : {0604, 0644, 0666, 0602}) {
        ::chmod(files.key.c_str(), mode);
        try {
            TlsContext::for_server(files);
            CHECK(!"refused");
        } catch (const persia::InvalidInput& error) {
            CHECK(has(error.what(), files.key + ": expected a file that only its owner can read"));
            CHECK(has(error.what(), "run `chmod 600 " + files.key + "`"));
        }
    }
    ::chmod(files.key.c_str(), 0400);
    TlsContext::for_server(files);
    ::chmod(files.key.c_str(), 0640);
    if (::geteuid() == 0) {
        TlsContext::for_server(files);  // root's, for a group that it chose
        CHECK(::chown(files.key.c_str(), 12345, 12345) == 0);
    }
    CHECK_THROWS(TlsContext::for_server(files), persia::InvalidInput);
}

TEST(hosts_that_are_none_get_no_certificate) {
    const Authority authority;
    for (const char* host : {"", "a b", "a,IP:1.2.3.4", "DNS:a", ".a", "a..b", "a/b"}) {
        CHECK_THROWS(authority.server({host, "a"}), persia::InvalidInput);
    }
    CHECK_THROWS(persia::grpc::make_authority("", kToday), persia::InvalidInput);
    CHECK_THROWS(persia::grpc::make_authority(std::string(65, 'a'), kToday), persia::InvalidInput);
    CHECK_THROWS(authority.client("a", hours(2, 1)), persia::InvalidInput);
    const Authority other;
    CHECK_THROWS(persia::grpc::make_certificate({authority.made.certificate, other.made.key}, "a", {}, Usage::client, kToday),
                 persia::InvalidInput);
}
