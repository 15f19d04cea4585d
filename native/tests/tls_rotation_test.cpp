// Certificates that change while connections live.
#include <string>

#include "base/error.hpp"
#include "certified.hpp"

using namespace certified;

namespace {

struct Rotated {
    Folder folder;
    Authority authority;
    std::string ca = folder.write("ca.pem", authority.made.certificate);
    TlsFiles server_files = files_of(folder, "server", authority.server({"first", "localhost"}), ca);
    TlsFiles client_files = files_of(folder, "client", authority.client("trainer"), ca);
    std::shared_ptr<TlsContext> server = TlsContext::for_server(server_files);
    std::shared_ptr<TlsContext> client = TlsContext::for_client(client_files);

    std::string name_of_server() { return connected(*server, *client).client->peer_name(); }
};

void check_alive(Ends& ends) {
    write_text(*ends.client, "still here");
    CHECK(read_text(*ends.server) == "still here");
    write_text(*ends.server, "so am I");
    CHECK(read_text(*ends.client) == "so am I");
}

}  // namespace

TEST(new_connections_have_the_new_certificate_and_old_ones_live_on) {
    Rotated rotated;
    Ends old = connected(*rotated.server, *rotated.client);
    CHECK(old.client->peer_name() == "first");
    CHECK(rotated.server->refresh().empty());
    files_of(rotated.folder, "server", rotated.authority.server({"second", "localhost"}), "");
    CHECK(rotated.name_of_server() == "first");
    CHECK(rotated.server->refresh().empty());
    CHECK(rotated.name_of_server() == "second");
    check_alive(old);
}

TEST(a_client_s_certificate_is_read_again) {
    Rotated rotated;
    files_of(rotated.folder, "client", rotated.authority.client("scorer"), "");
    CHECK(rotated.client->refresh().empty());
    CHECK(connected(*rotated.server, *rotated.client).server->peer_name() == "scorer");
}

TEST(another_ca_is_read_again) {
    Rotated rotated;
    Ends old = connected(*rotated.server, *rotated.client);
    const Authority other("another CA");
    const Certified stranger = other.client("stranger");
    const std::string both = rotated.folder.write("both.pem", rotated.authority.made.certificate);
    const auto client = TlsContext::for_client(files_of(rotated.folder, "stranger", stranger, both));
    CHECK(!connected(*rotated.server, *client).server->is_open());
    rotated.folder.write("ca.pem", rotated.authority.made.certificate + other.made.certificate);  // both, while clients change
    CHECK(rotated.server->refresh().empty());
    CHECK(connected(*rotated.server, *client).server->peer_name() == "stranger");
    CHECK(connected(*rotated.server, *rotated.client).server->peer_name() == "trainer");
    rotated.folder.write("ca.pem", other.made.certificate);
    CHECK(rotated.server->refresh().empty());
    CHECK(!connected(*rotated.server, *rotated.client).server->is_open());
    check_alive(old);
}

TEST(wrong_files_leave_the_old_ones_and_say_why_until_they_are_right) {
    Rotated rotated;
    const Certified second = rotated.authority.server({"second", "localhost"});
    rotated.folder.write("server.pem", second.certificate);  // and its key comes later
    CHECK(has(rotated.server->refresh(), "expected the key of the certificate in " + rotated.server_files.certificate));
    CHECK(has(rotated.server->refresh(), "expected the key of the certificate"));  // as long as it is so
    CHECK(rotated.name_of_server() == "first");
    rotated.folder.write("server-key.pem", second.key, 0644);
    CHECK(has(rotated.server->refresh(), "run `chmod 600 " + rotated.server_files.key + "`"));
    CHECK(rotated.name_of_server() == "first");
    ::chmod(rotated.server_files.key.c_str(), 0600);  // the same bytes at the same time
    CHECK(rotated.server->refresh().empty());
    CHECK(rotated.name_of_server() == "second");

    rotated.folder.write("server.pem", second.certificate.substr(0, 300));
    CHECK(has(rotated.server->refresh(), "server.pem: expected certificates in PEM"));
    std::filesystem::remove(rotated.server_files.certificate);
    CHECK(has(rotated.server->refresh(), "server.pem: No such file or directory"));
    const Certified old = rotated.authority.server({"old", "localhost"}, hours(-40, -20));
    files_of(rotated.folder, "server", old, "");
    CHECK(has(rotated.server->refresh(), "has expired on 2"));
    CHECK(rotated.name_of_server() == "second");
    files_of(rotated.folder, "server", rotated.authority.server({"third", "localhost"}), "");
    CHECK(rotated.server->refresh().empty());
    CHECK(rotated.name_of_server() == "third");
}

TEST(links_that_lead_elsewhere_are_noticed) {  // as in Kubernetes, where ..data is exchanged
    Rotated rotated;
    const auto volume = [&](const std::string& name, const Certified& certified) {
        std::filesystem::create_directory(rotated.folder.at(name));
        rotated.folder.write(name + "/tls.crt", certified.certificate);
        rotated.folder.write(name + "/tls.key", certified.key);
        std::filesystem::create_directory_symlink(rotated.folder.at(name), rotated.folder.at("..new"));
        std::filesystem::rename(rotated.folder.at("..new"), rotated.folder.at("..data"));
    };
    volume("v1", rotated.authority.server({"first", "localhost"}));
    rotated.server = TlsContext::for_server({rotated.folder.at("..data/tls.crt"), rotated.folder.at("..data/tls.key"), ""});
    CHECK(rotated.name_of_server() == "first");
    volume("v2", rotated.authority.server({"second", "localhost"}));
    CHECK(rotated.server->refresh().empty());
    CHECK(rotated.name_of_server() == "second");
}
