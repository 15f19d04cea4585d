// What a server does about methods that do wrong: their calls end, and nothing else.
#include <stdexcept>

#include "check.hpp"
#include "grpc_service.hpp"

using namespace persia;
using namespace persia::routing;
using grpc::Code;
using grpc::OutgoingMessage;

namespace {

constexpr double kLong = 30;  // seconds: nothing here takes so long

// Throws for some messages, and answers the others. Work of many bytes waits for a turn.
class Throws final : public grpc::Method {
  public:
    explicit Throws(std::size_t work) : work_(work) {}

    void on_message(const grpc::ServerCallPtr& call, grpc::ReceivedMessage message) override {
        if (text_of(message.bytes()) == "memory") throw std::bad_alloc();
        if (text_of(message.bytes()) == "logic") throw std::logic_error("a secret of the server's");
        call->reply(OutgoingMessage(std::string("fine")));
    }
    std::size_t work_of(const grpc::ReceivedMessage& /*message*/) const override { return work_; }

  private:
    const std::size_t work_;
};

// Sends more than one message may have, without an end.
class SendsTooMuch final : public grpc::Method {
  public:
    void on_message(const grpc::ServerCallPtr& call, grpc::ReceivedMessage /*message*/) override {
        call->send(OutgoingMessage(std::string(2000, 'x')));
    }
};

grpc::Reply call(Replica& replica, const std::string& text) { return replica.call("/t.T/Do", OutgoingMessage(text), kLong); }

}  // namespace

TEST(what_a_method_throws_ends_its_call_alone) {
    for (const std::size_t work : {std::size_t{0}, std::size_t{1} << 20}) {
        grpc::Server server({}, nullptr, nullptr);
        server.add("/t.T/Do", std::make_shared<Throws>(work));
        Replica replica(Target{.address = server.listen("127.0.0.1:0")});
        server.start();
        CHECK(call(replica, "memory").status.code == Code::resource_exhausted);
        const grpc::Status internal = call(replica, "logic").status;
        CHECK(internal.code == Code::internal);
        CHECK(internal.message.find("secret") == std::string::npos);
        CHECK(text_of(call(replica, "well").message.bytes()) == "fine");
    }
}

TEST(a_message_that_is_too_large_to_be_sent_ends_its_call) {
    grpc::ServerLimits limits;
    limits.max_answer_bytes = 1000;
    grpc::Server server(limits, nullptr, nullptr);
    server.add("/t.T/Do", std::make_shared<SendsTooMuch>());
    Replica replica(Target{.address = server.listen("127.0.0.1:0")});
    server.start();
    const grpc::Status status = call(replica, "").status;
    CHECK(status.code == Code::resource_exhausted);
    CHECK(status.message == "expected an answer of at most 1000 bytes, got one of 2000");
}
