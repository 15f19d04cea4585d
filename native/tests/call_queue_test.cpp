// The line of calls that threads of somebody else answer: its order, its bound, and who is left out.
#include "grpc/call_queue.hpp"

#include <memory>
#include <span>
#include <string>

#include "check.hpp"
#include "fake_call.hpp"
#include "messages.hpp"

using namespace persia;
using grpc::CallQueue;

namespace {

constexpr double kNoTime = 0, kPatience = 60;

void give(grpc::Method& method, const std::shared_ptr<FakeCall>& call, const std::string& text) {
    method.on_message(call, received(std::as_bytes(std::span(text))));
}

// What comes next; "end": the client has no more.
std::string take(CallQueue& queue) {
    const auto item = queue.next(kPatience);
    if (!item->message) return "end";
    const auto bytes = item->message->bytes();
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

TEST(messages_of_a_stream_come_in_order) {
    const auto queue = std::make_shared<CallQueue>();
    const auto method = queue->method(true);
    const auto call = std::make_shared<FakeCall>();
    give(*method, call, "1");
    {
        const auto first = queue->next(kNoTime);
        give(*method, call, "2");
        give(*method, call, "3");
        CHECK(!queue->next(kNoTime));  // one at a time
    }
    {
        const auto second = queue->next(kNoTime);
        CHECK(second.has_value());
        method->on_messages_end(call);
    }
    CHECK(take(*queue) == "3");
    CHECK(take(*queue) == "end");
    CHECK(!queue->next(kNoTime));
}

TEST(calls_take_turns) {
    const auto queue = std::make_shared<CallQueue>();
    const auto method = queue->method(true);
    const auto one = std::make_shared<FakeCall>(), other = std::make_shared<FakeCall>();
    give(*method, one, "one 1");
    give(*method, one, "one 2");
    give(*method, other, "other");
    CHECK(take(*queue) == "one 1");
    CHECK(take(*queue) == "other");
    CHECK(take(*queue) == "one 2");
}

TEST(a_call_that_nobody_waits_for_is_left_out) {
    const auto queue = std::make_shared<CallQueue>();
    const auto method = queue->method(false);
    const auto gone = std::make_shared<FakeCall>(), call = std::make_shared<FakeCall>();
    give(*method, gone, "gone");
    give(*method, call, "here");
    gone->ended = true;
    CHECK(take(*queue) == "here");
    CHECK(!queue->next(kNoTime));
}

TEST(a_call_comes_again_even_when_it_has_ended) {
    const auto queue = std::make_shared<CallQueue>();
    const auto method = queue->method(false);
    const auto call = std::make_shared<FakeCall>();
    give(*method, call, "first");
    auto first = queue->next(kNoTime);  // which lives on
    call->ended = true;
    CHECK(!queue->next(kNoTime));
    first->come_again(1);
    CHECK(take(*queue) == "end");
    CHECK(!queue->next(kNoTime));
}

TEST(the_line_is_bounded) {
    const auto queue = std::make_shared<CallQueue>(2);
    const auto method = queue->method(true);
    const auto one = std::make_shared<FakeCall>(), other = std::make_shared<FakeCall>(), third = std::make_shared<FakeCall>();
    for (const auto& call : {one, other, third}) give(*method, call, "");
    CHECK(!one->ended && !other->ended);
    CHECK(third->status.code == grpc::Code::resource_exhausted);
    give(*method, one, "");
    CHECK(!one->ended);
    give(*method, one, "");  // nobody takes them
    CHECK(one->status.code == grpc::Code::resource_exhausted);
}

TEST(a_closed_queue_takes_nothing) {
    const auto queue = std::make_shared<CallQueue>();
    const auto method = queue->method(false);
    const auto out = std::make_shared<FakeCall>(), in_line = std::make_shared<FakeCall>(), late = std::make_shared<FakeCall>();
    give(*method, out, "");
    {
        const auto item = queue->next(kNoTime);
        give(*method, in_line, "");
        queue->close();
    }
    CHECK(queue->closed());
    CHECK(!queue->next(kPatience));
    give(*method, late, "");
    CHECK(!out->ended);  // whoever has it answers it
    for (const auto& call : {in_line, late}) CHECK(call->status.code == grpc::Code::unavailable);
}

}  // namespace
