// Files of certificates and tokens for tests, and two ends of a connection.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "check.hpp"
#include "grpc/certificates.hpp"
#include "grpc/tls.hpp"

namespace certified {

using persia::grpc::Certified;
using persia::grpc::TlsContext;
using persia::grpc::TlsFiles;
using persia::grpc::Transport;
using persia::grpc::Usage;
using persia::grpc::Validity;

constexpr std::int64_t kHour = 3600;

inline Validity hours(std::int64_t from, std::int64_t until) {
    const std::int64_t now = std::time(nullptr);
    return {now + from * kHour, now + until * kHour};
}

inline const Validity kToday = hours(-1, 24);

// A directory that goes with it.
class Folder {
  public:
    Folder() {
        char name[] = "/tmp/persia-tls-XXXXXX";
        if (::mkdtemp(name) == nullptr) throw std::runtime_error("no temporary directory");
        path_ = name;
    }
    ~Folder() { std::filesystem::remove_all(path_); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    std::string at(const std::string& name) const { return path_ + "/" + name; }

    // As one file takes the place of another.
    std::string write(const std::string& name, const std::string& text, mode_t mode = 0600) const {
        const std::string path = at(name), other = path + ".new";
        std::ofstream(other, std::ios::binary) << text;
        ::chmod(other.c_str(), mode);
        std::filesystem::rename(other, path);
        return path;
    }

  private:
    std::string path_;
};

struct Authority {
    explicit Authority(const std::string& name = "test CA") : made(persia::grpc::make_authority(name, hours(-48, 48))) {}

    Certified server(const std::vector<std::string>& hosts, Validity validity = kToday) const {
        return persia::grpc::make_certificate(made, hosts.front(), hosts, Usage::server, validity);
    }
    Certified client(const std::string& name, Validity validity = kToday) const {
        return persia::grpc::make_certificate(made, name, {}, Usage::client, validity);
    }

    Certified made;
};

inline TlsFiles files_of(const Folder& folder, const std::string& name, const Certified& certified, const std::string& ca) {
    return {folder.write(name + ".pem", certified.certificate), folder.write(name + "-key.pem", certified.key), ca};
}

inline std::pair<int, int> sockets() {
    int both[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both) != 0) throw std::runtime_error("no sockets");
    return {both[0], both[1]};
}

struct Ends {
    std::unique_ptr<Transport> server, client;
};

inline Transport::Outcome go_on(Transport& end) { return end.write({}).outcome; }

// Until both ends know how it went. One that has failed is the last to know of the other.
inline void shake_hands(Ends& ends) {
    for (int i = 0; i < 20; ++i) {
        go_on(*ends.client);
        go_on(*ends.server);
    }
}

inline Ends connected(TlsContext& server, TlsContext& client, const std::string& host = "localhost") {
    const auto [ours, theirs] = sockets();
    Ends ends{server.accept(ours), client.connect(theirs, host)};
    shake_hands(ends);
    return ends;
}

inline Transport::Result write_text(Transport& end, std::string text) {
    const iovec piece{text.data(), text.size()};
    return end.write({&piece, 1});
}

inline Transport::Result read_some(Transport& end, std::string& into, std::size_t at_most = 4096) {
    std::string bytes(at_most, '\0');
    const iovec piece{bytes.data(), bytes.size()};
    const Transport::Result result = end.read({&piece, 1});
    into.append(bytes, 0, result.bytes);
    return result;
}

inline std::string read_text(Transport& end) {
    std::string text;
    read_some(end, text);
    return text;
}

inline bool has(const std::string& text, const std::string& part) {
    if (text.find(part) != std::string::npos) return true;
    std::fprintf(stderr, "expected `%s` in `%s`\n", part.c_str(), text.c_str());
    return false;
}

}  // namespace certified
