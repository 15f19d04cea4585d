// Feeds spoiled requests of HTTP/1.1 to a server. Each must end in answers, a refusal or the end of the connection, leave
// nothing behind, and be understood in the same way however it is cut into pieces: what two readers understand differently is
// how a request is smuggled past a proxy. The seed is fixed: a failure here is a failure everywhere. PERSIA_FUZZ_MUTANTS sets
// how many mutants there are.
#include <sys/epoll.h>

#include <cstdio>
#include <string>
#include <vector>

#include "check.hpp"
#include "http/server_connection.hpp"
#include "memory_transport.hpp"
#include "spoiling.hpp"

using namespace persia::http;
using persia::fuzz_mutants;
using persia::grpc::MemoryTransport;
using persia::grpc::Pipe;

namespace {

constexpr std::size_t kMostBody = 2'000;

const std::vector<std::string>& seeds() {
    static const std::vector<std::string> all = {
        "GET /ping HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /predictions/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST /a?b=c%20d&e HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: u\r\n\r\n",
        "GET /1 HTTP/1.1\r\nHost: a\r\nX-Request-Id: 1\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
        "GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nab",
        "GET http://a/b?c HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n",
        "POST /f HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: "
        "11\r\n\r\na=b+c&d=%41",
        "POST /m HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=X\r\nContent-Length: 99\r\n\r\n"
        "--X\r\nContent-Disposition: form-data; name=\"a\"; filename=\"b\"\r\nContent-Type: text/plain\r\n\r\nc\r\n--X--\r\n",
    };
    return all;
}

class Mutator : public persia::Spoiler {
  public:
    using Spoiler::Spoiler;

    std::string next() {
        std::string bytes = seeds()[below(seeds().size())];
        if (below(4) == 0) bytes += seeds()[below(seeds().size())];
        for (std::size_t n = below(4); n > 0 && !bytes.empty(); --n) mutate(bytes);
        return bytes;
    }

  private:
    // What requests are smuggled with.
    static constexpr const char* kPhrases[] = {"\r\nContent-Length: 3",
                                               "\r\nContent-Length: 5",
                                               "\r\nTransfer-Encoding: chunked",
                                               "\r\nTransfer-Encoding: identity",
                                               "\r\n folded",
                                               "\n",
                                               "\r",
                                               "\r\n\r\n",
                                               "0\r\n\r\n",
                                               "\r\nHost: b",
                                               " ",
                                               "\t",
                                               "%00",
                                               "%",
                                               "ffffffffffffffff",
                                               "99999999999999999999",
                                               "+1",
                                               "-1",
                                               "0x5",
                                               ":",
                                               ";",
                                               ",",
                                               "\"",
                                               "\r\nContent-Length : 3"};

    void mutate(std::string& bytes) {
        const std::size_t at = below(bytes.size());
        const std::size_t line = std::min(bytes.find("\r\n", at), bytes.size());
        switch (below(8)) {
            case 0:
                bytes.insert(at, kPhrases[below(std::size(kPhrases))]);
                break;
            case 1:
                bytes.insert(line, kPhrases[below(std::size(kPhrases))]);
                break;
            case 2:  // a part again
                bytes.insert(at, bytes.substr(at, 1 + below(40)));
                break;
            case 3: {
                const std::string& other = seeds()[below(seeds().size())];
                bytes.insert(at, other.substr(below(other.size()), 1 + below(60)));
                break;
            }
            default:
                spoil(bytes, at);
        }
    }
};

// Answers each request, and notes how it was understood.
class Noting final : public Service {
  public:
    void on_request(const ExchangePtr& exchange) override {
        const Request& request = exchange->request();
        noted += request.head.method + ' ' + request.head.target + ' ' + std::string(request.text()) + '\n';
        const std::string* type = find(request.head.headers, "content-type");
        if (type != nullptr) static_cast<void>(parse_multipart(*type, request.text()));
        static_cast<void>(parse_urlencoded(request.text()));
        exchange->respond({200, "", {}, persia::grpc::OutgoingMessage(std::string("answer")), false});
    }
    Response refuse(const Refusal& refusal) const override {
        CHECK(refusal.status >= 400 && !refusal.message.empty());
        return {refusal.status, "", {}, persia::grpc::OutgoingMessage(refusal.message), true};
    }

    std::string noted;
};

struct Heard {
    std::string noted;  // how the requests were understood
    std::size_t answers, refusals;
};

class Server {
  public:
    Heard hear(std::string_view bytes, std::size_t piece) {
        service_.noted.clear();
        const auto in = std::make_shared<Pipe>(), out = std::make_shared<Pipe>();
        const auto connection = std::make_shared<ServerConnection>(shared_, std::make_unique<MemoryTransport>(in, out), "peer");
        persia::net::Watched& watched = *connection;
        connection->set_id(1);
        connection->begin();
        for (; !bytes.empty() && !out->closed; bytes.remove_prefix(std::min(piece, bytes.size()))) {
            in->bytes += bytes.substr(0, piece);
            watched.on_ready(EPOLLIN);
        }
        in->closed = true;
        watched.on_ready(EPOLLIN);
        return {service_.noted, count(out->bytes, "HTTP/1.1 200 "),
                count(out->bytes, "HTTP/1.1 4") + count(out->bytes, "HTTP/1.1 5")};
    }

    std::size_t memory() const { return shared_->budget->used(); }

  private:
    static std::size_t count(const std::string& text, const std::string& part) {
        std::size_t count = 0;
        for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
        return count;
    }

    persia::net::Reactor reactor_;
    Noting service_;
    const std::shared_ptr<ServerShared> shared_{new ServerShared{{.max_body_bytes = kMostBody},
                                                                 reactor_,
                                                                 service_,
                                                                 std::make_shared<persia::grpc::MemoryBudget>(1 << 20),
                                                                 [](persia::net::Reactor::Key) {},
                                                                 {}}};
};

}  // namespace

TEST(spoiled_requests_leave_nothing_behind_and_mean_one_thing) {
    Server server;
    for (const std::string& seed : seeds()) {
        const Heard heard = server.hear(seed, seed.size());
        CHECK(heard.answers >= 1 && heard.refusals == 0);
    }
    Mutator mutator(20'281'128);
    const std::size_t mutants = fuzz_mutants(20'000);
    std::size_t answered = 0, refused = 0;
    for (std::size_t i = 0; i < mutants; ++i) {
        const std::string bytes = mutator.next();
        const Heard whole = server.hear(bytes, std::max<std::size_t>(1, bytes.size()));
        const Heard pieces = server.hear(bytes, 1 + mutator.below(7));
        const bool same = whole.noted == pieces.noted && whole.answers == pieces.answers && whole.refusals == pieces.refusals;
        if (!same)
            std::fprintf(stderr, "mutant %zu:\n%s\n---\n%s---\n%s", i, bytes.c_str(), whole.noted.c_str(),
                         pieces.noted.c_str());
        CHECK(same);
        CHECK(whole.refusals <= 1);
        CHECK(server.memory() == 0);
        answered += whole.refusals == 0 ? 1 : 0;
        refused += whole.refusals;
    }
    std::printf("    %zu answered, %zu refused\n", answered, refused);
    CHECK(answered > mutants / 10 && refused > mutants / 10);
}
