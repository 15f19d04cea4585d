// One call: however its request leaves and its answer comes, and what is no answer to it.
#include "persia/frame_call.hpp"

#include <arpa/inet.h>

#include <cerrno>
#include <vector>

#include "callers.hpp"
#include "check.hpp"
#include "persia/error.hpp"

using namespace persia;

namespace {

using State = FrameCall::State;

const std::vector<Bytes> kQuestion{some_bytes(24), some_bytes(80), {}, {}, some_bytes(4)};
const std::vector<Bytes> kReply{some_bytes(100), some_bytes(13)};

// All of the answer that has come.
void expect_start(const FrameCall& call, std::span<const std::byte> bytes) {
    CHECK(call.got() == bytes.size());
    CHECK(as_bytes(call.start()) == as_bytes(bytes.first(std::min(bytes.size(), sizeof(FrameHeader)))));
}

// What becomes of a call that gets these bytes, and nothing else, for an answer.
void expect_failure(const Bytes& bytes, std::uint64_t max_bytes = 1'000) {
    Caller caller(2, max_bytes);
    ask(caller.call, 5, kQuestion);
    caller.ends.send(bytes);
    caller.call.advance();
    CHECK(caller.state() == State::failed);
    CHECK(caller.call.error() == 0);
    expect_start(caller.call, bytes);
}

}  // namespace

TEST(a_request_leaves_as_a_frame) {
    Caller caller;
    CHECK(caller.state() == State::idle);
    ask(caller.call, 0xabcd, kQuestion);
    CHECK(caller.state() == State::pending);
    CHECK(!caller.call.sends());
    const Bytes frame = frame_of(0xabcd, kQuestion);
    CHECK(caller.ends.receive(frame.size()) == frame);
    ask(caller.call, 1, {some_bytes(3)});
    CHECK(caller.ends.receive(35) == frame_of(1, {some_bytes(3)}));
}

TEST(an_answer_may_come_in_pieces_cut_anywhere) {
    Caller caller;
    const Bytes answer = frame_of(5, kReply);
    for (std::size_t cut = 0; cut <= answer.size(); ++cut) {
        ask(caller.call, 5, kQuestion);
        caller.ends.send(std::span(answer).first(cut));
        caller.call.advance();
        CHECK(caller.state() == (cut < answer.size() ? State::pending : State::whole));
        caller.ends.send(std::span(answer).subspan(cut));
        caller.call.advance();
        CHECK(caller.state() == State::whole);
        caller.call.advance();  // of no consequence
        CHECK(taken(caller.call) == answer);
        CHECK(caller.state() == State::idle);
        CHECK(caller.call.quiet());
    }
}

TEST(one_call_asks_again_and_again_for_answers_of_any_size) {
    Caller caller;
    std::uint16_t turn = 0;
    for (const std::size_t size :
         {0U, 100U, 4'062U, 4'063U, 4'064U, 4'065U, 70'000U, 0U, 69'000U, 70'100U, 1U, 3'000'000U, 2'999'999U, 5U}) {
        const std::vector<Bytes> columns{some_bytes(size), some_bytes(2)};
        const Bytes answer = frame_of(++turn, columns);
        ask(caller.call, turn, kQuestion);
        std::thread peer([&] { caller.ends.send(answer); });
        wait_until([&] { return caller.call.advance(), caller.state() != State::pending; });
        peer.join();
        CHECK(caller.state() == State::whole);
        if (caller.state() != State::whole) return;
        const FrameCall::Answer got = caller.call.take();
        CHECK(got.header.turn == turn && got.header.lengths[0] == size && got.header.lengths[1] == 2);
        CHECK(Bytes(got.frame.get(), got.frame.get() + got.header.size()) == answer);
    }
}

TEST(it_is_known_when_the_last_request_began) {
    Caller caller;
    for (const bool connected : {true, false}) {
        const FrameCall::Clock::time_point before = FrameCall::Clock::now();
        ask(caller.call, 5, kQuestion, connected);
        const FrameCall::Clock::time_point asked = caller.call.asked();
        CHECK(asked >= before && asked <= FrameCall::Clock::now());
        caller.ends.send(frame_of(5, kReply));
        caller.call.advance();
        CHECK(caller.state() == State::whole && caller.call.asked() == asked);
        caller.call.take();
    }
}

TEST(a_request_waits_for_the_connection) {
    Caller caller;
    ask(caller.call, 5, kQuestion, false);
    CHECK(caller.state() == State::pending);
    CHECK(caller.call.sends());
    CHECK(Ends::unread(caller.ends.ours()) == 0);
    caller.call.advance();
    CHECK(!caller.call.sends());
    const Bytes frame = frame_of(5, kQuestion);
    CHECK(caller.ends.receive(frame.size()) == frame);
    caller.ends.send(frame_of(5, kReply));
    caller.call.advance();
    CHECK(caller.state() == State::whole);
}

TEST(a_request_larger_than_the_socket_leaves_bit_by_bit) {
    Caller caller;
    const int size = 4'096;
    setsockopt(caller.ends.theirs(), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    const std::vector<Bytes> columns{some_bytes(300'001), some_bytes(1), some_bytes(200'000)};
    const Bytes frame = frame_of(5, columns);
    {
        std::vector<Bytes> handed_in = columns;
        ask(caller.call, 5, handed_in);
        for (Bytes& column : handed_in) column.assign(column.size(), std::byte{0xff});  // not used after the return
    }
    CHECK(caller.call.sends());
    Bytes got;
    while (got.size() < frame.size()) {
        caller.call.advance();
        CHECK(caller.state() == State::pending);
        const auto come = static_cast<std::size_t>(Ends::unread(caller.ends.ours()));
        CHECK(come != 0);
        if (come == 0) return;
        const Bytes more = caller.ends.receive(come);
        got.insert(got.end(), more.begin(), more.end());
    }
    CHECK(got == frame);
    CHECK(!caller.call.sends());
    caller.ends.send(frame_of(5, kReply));
    caller.call.advance();
    CHECK(taken(caller.call) == frame_of(5, kReply));
}

TEST(an_end_before_or_within_an_answer_is_a_failure) {
    const Bytes answer = frame_of(5, kReply);
    for (std::size_t size = 0; size < answer.size(); ++size) {
        Caller caller;
        ask(caller.call, 5, kQuestion);
        caller.ends.send(std::span(answer).first(size));
        caller.call.advance();
        CHECK(caller.state() == State::pending);
        shutdown(caller.ends.ours(), SHUT_RDWR);
        caller.call.advance();
        CHECK(caller.state() == State::failed);
        CHECK(caller.call.error() == 0);
        expect_start(caller.call, std::span(answer).first(size));
    }
}

TEST(who_is_gone_before_the_request_is_an_error_of_the_system) {
    for (const bool connected : {true, false}) {
        Caller caller;
        caller.ends.close_ours();
        ask(caller.call, 5, kQuestion, connected);
        caller.call.advance();
        CHECK(caller.state() == State::failed);
        CHECK(caller.call.error() == EPIPE);
        expect_start(caller.call, {});
    }
}

TEST(what_is_no_answer_to_the_request_is_a_failure) {
    FrameHeader header = header_of(5, kReply);
    header.magic[1] = 's';
    expect_failure(frame_of(header, kReply));
    expect_failure(frame_of(4, kReply));                              // to another request
    expect_failure(frame_of(5, {some_bytes(13)}));                    // of fewer columns
    expect_failure(frame_of(5, {some_bytes(9), {}, some_bytes(9)}));  // of more
    header = header_of(5, kReply);
    header.lengths[4] = 1;  // beyond its columns
    expect_failure(frame_of(header, kReply));
    Bytes more = frame_of(5, kReply);
    more.push_back(std::byte{1});
    expect_failure(more);
    expect_failure(frame_of(5, kReply), 112);
    header.lengths[0] = header.lengths[1] = 0xffffffff;
    expect_failure(frame_of(header, kReply), ~std::uint64_t{0});
}

TEST(an_answer_may_be_as_long_as_the_limit) {
    Caller caller(2, 113);
    ask(caller.call, 5, {some_bytes(113)});
    caller.ends.send(frame_of(5, kReply));
    caller.call.advance();
    CHECK(caller.state() == State::whole);
}

TEST(a_request_beyond_the_limit_is_refused_and_the_call_stays_of_use) {
    Caller caller(2, 113);
    CHECK_THROWS(ask(caller.call, 5, {some_bytes(100), some_bytes(14)}), TooLarge);
    CHECK(caller.state() == State::idle);
    CHECK(Ends::unread(caller.ends.ours()) == 0);
    ask(caller.call, 6, {some_bytes(100), some_bytes(13)});
    CHECK(Ends::unread(caller.ends.ours()) == 145);
}

TEST(a_connection_is_quiet_until_something_comes_unasked) {
    Caller caller;
    CHECK(caller.call.quiet());
    ask(caller.call, 5, kQuestion);
    caller.ends.send(frame_of(5, kReply));
    caller.call.advance();
    CHECK(caller.state() == State::whole);
    caller.call.take();
    CHECK(caller.call.quiet());
    caller.ends.send(some_bytes(1));
    CHECK(!caller.call.quiet());
    Caller closed;
    CHECK(closed.call.quiet());
    closed.ends.close_ours();
    CHECK(!closed.call.quiet());
    Caller lost;
    ask(lost.call, 5, kQuestion);
    lost.ends.send(frame_of(5, kReply));
    lost.call.advance();
    lost.ends.close_ours();  // without having read the request: an error, not an end
    CHECK(taken(lost.call) == frame_of(5, kReply));
    CHECK(!lost.call.quiet());
}

TEST(bytes_behind_an_answer_are_seen_before_the_next_request_or_spoil_it) {
    Caller caller;
    const Bytes answer = frame_of(5, kReply);
    ask(caller.call, 5, kQuestion);
    caller.ends.send(std::span(answer).first(40));
    caller.call.advance();
    caller.ends.send(std::span(answer).subspan(40));
    caller.ends.send(some_bytes(1));  // which the call leaves where it is
    caller.call.advance();
    CHECK(taken(caller.call) == answer);
    CHECK(!caller.call.quiet());
    ask(caller.call, 6, kQuestion);
    caller.ends.send(frame_of(6, kReply));
    caller.call.advance();
    CHECK(caller.state() == State::failed);
}

TEST(a_call_over_tcp_begins_before_it_is_connected) {
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    CHECK(bind(listener, generic, size) == 0 && getsockname(listener, generic, &size) == 0);
    // Nobody listens, and then somebody does.
    for (const bool listens : {false, true}) {
        if (listens) CHECK(listen(listener, 1) == 0);
        const int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        FrameCall call(client, 2, 1'000);
        const int result = connect(client, generic, size);
        CHECK(result == 0 || errno == EINPROGRESS || !listens);
        ask(call, 5, kQuestion, false);
        FrameCall* const calls[] = {&call};
        if (listens) {
            std::thread peer([&] {
                const int accepted = accept(listener, nullptr, nullptr);
                Bytes question(frame_of(5, kQuestion).size());
                CHECK(recv(accepted, question.data(), question.size(), MSG_WAITALL) == static_cast<ssize_t>(question.size()));
                const Bytes answer = frame_of(5, kReply);
                CHECK(send(accepted, answer.data(), answer.size(), 0) == static_cast<ssize_t>(answer.size()));
                close(accepted);
            });
            exchange(calls, {}, kPatienceSeconds);
            peer.join();
            CHECK(call.state() == State::whole);
        } else {
            exchange(calls, {}, kPatienceSeconds);
            CHECK(call.state() == State::failed);
            CHECK(call.error() == ECONNREFUSED || call.error() == EPIPE);
        }
        close(client);
    }
    close(listener);
}
