// What a lane answers by itself, however the bytes come and go.
#include "persia/frame_lane.hpp"

#include <cmath>
#include <csignal>
#include <vector>

#include "check.hpp"
#include "lanes.hpp"

using namespace persia;

namespace {

Bytes slice(const Bytes& bytes, std::size_t begin, std::size_t end) {
    return {bytes.begin() + static_cast<std::ptrdiff_t>(begin), bytes.begin() + static_cast<std::ptrdiff_t>(end)};
}

// An answer of 80,000 bytes, which do not fit into the sockets below.
const Wire kLargeAnswer = request_for(AnswerKind::rows, 4, range(0, 5'000));

void make_small(const Ends& ends) {
    const int size = 4'096;
    setsockopt(ends.theirs(), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    setsockopt(ends.ours(), SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

}  // namespace

TEST(requests_are_answered_one_after_the_other) {
    OneShard shard;
    Serving serving(shard.answers);
    LookupTotals want;
    const auto snapshot = shard.table->pin();
    std::uint16_t turn = 65'530;
    for (int round = 0; round < 3; ++round) {
        for (const Wire& wire : valid_requests()) {
            const Expected expected = expected_of(*snapshot, wire);
            serving.ends.send(frame_of(++turn, columns_of(wire)));
            CHECK(is_answer(receive_frame(serving.ends), turn, expected));
            ++want.lookups;
            want.signs += wire.columns[1].size() / 8;
            want.misses.absent += expected.response.absent;
            want.misses.wrong_dim += expected.response.wrong_dim;
        }
    }
    const LookupTotals totals = shard.answers.totals();
    CHECK(want.misses.absent != 0 && want.misses.wrong_dim != 0);
    CHECK(totals.lookups == want.lookups && totals.signs == want.signs);
    CHECK(totals.misses.absent == want.misses.absent && totals.misses.wrong_dim == want.misses.wrong_dim);
    CHECK(totals.nanoseconds > 0);
    std::uint64_t taken = totals.beyond;
    for (const std::uint64_t count : totals.within) taken += count;
    CHECK(totals.within.size() == 4 && taken == want.lookups);
    CHECK(totals.within[0] == 0 && totals.beyond == 0);  // none took a nanosecond, or a quarter of an hour
}

TEST(a_request_for_nothing_has_an_empty_answer) {
    OneShard shard;
    Serving serving(shard.answers);
    for (const Wire& wire : {Wire{}, request_for(AnswerKind::halves, 3, {}), request_for(AnswerKind::rows, 4, {})}) {
        serving.ends.send(frame_of(7, columns_of(wire)));
        CHECK(is_answer(receive_frame(serving.ends), 7, {{}, {.server_start = kStart}}));
    }
}

TEST(figures_of_more_than_a_byte_are_said_whole) {
    OneShard shard;
    for (int i = 0; i < 300; ++i) shard.table->publish(Layer(RowStorage::f32));
    Serving serving(shard.answers);
    serving.ends.send(frame_of(1, columns_of(request_for(AnswerKind::rows, 1, range(1'000, 18'000)))));
    const auto frame = receive_frame(serving.ends);
    CHECK(frame && response_of(frame->columns.at(1)) ==
                       (Response{300, 17'000, 0, kStart, kCheckpoint, bytes_of(std::vector<RunMisses>{{17'000, 0}})}));
    serving.ends.send(frame_of(1, columns_of(request_for(AnswerKind::rows, 2, range(0, 300)))));
    const auto other = receive_frame(serving.ends);
    CHECK(other && response_of(other->columns.at(1)) ==
                       (Response{300, 204, 96, kStart, kCheckpoint, bytes_of(std::vector<RunMisses>{{204, 96}})}));
}

TEST(a_request_may_come_in_two_pieces_cut_anywhere) {
    OneShard shard;
    Serving serving(shard.answers);
    const Wire wire = valid_requests().front();
    const Expected expected = expected_of(*shard.table->pin(), wire);
    const Bytes frame = frame_of(3, columns_of(wire));
    for (std::size_t cut = 1; cut < frame.size(); ++cut) {
        serving.ends.send(slice(frame, 0, cut));
        serving.ends.wait_until_read();
        serving.ends.send(slice(frame, cut, frame.size()));
        CHECK(is_answer(receive_frame(serving.ends), 3, expected));
    }
}

TEST(a_request_may_come_byte_by_byte) {
    OneShard shard;
    Serving serving(shard.answers);
    const Wire wire = valid_requests().front();
    for (const std::byte byte : frame_of(3, columns_of(wire))) {
        serving.ends.send({&byte, 1});
        serving.ends.wait_until_read();
    }
    CHECK(is_answer(receive_frame(serving.ends), 3, expected_of(*shard.table->pin(), wire)));
}

TEST(large_requests_are_answered_and_small_ones_after_them) {
    OneShard shard;
    Serving serving(shard.answers);
    const auto snapshot = shard.table->pin();
    const Wire small = valid_requests().front();
    for (const std::size_t signs : {9'000U, 150'000U}) {  // beyond the first read, and beyond what is kept
        const RequestPart part{0, AnswerKind::sums, 4, 1, static_cast<std::uint32_t>(signs), static_cast<std::uint32_t>(signs)};
        std::vector<std::uint64_t> all;
        while (all.size() < signs) all.push_back(all.size() % 200);
        const Wire large{{bytes_of(std::vector{part}), bytes_of(all), bytes_of(std::vector<std::uint32_t>(signs, 1)),
                          bytes_of(std::vector<std::uint16_t>(signs))}};
        for (const Wire& wire : {large, small, large}) {
            serving.ends.send(frame_of(3, columns_of(wire)));
            CHECK(is_answer(receive_frame(serving.ends), 3, expected_of(*snapshot, wire)));
        }
    }
}

TEST(an_answer_larger_than_the_socket_may_be_read_slowly) {
    OneShard shard;
    Serving serving(shard.answers);
    make_small(serving.ends);
    const Expected expected = expected_of(*shard.table->pin(), kLargeAnswer);
    serving.ends.send(frame_of(9, columns_of(kLargeAnswer)));
    Bytes answer;
    while (answer.size() < sizeof(FrameHeader) + expected.numbers.size()) {
        serving.ends.wait_for_bytes();
        const Bytes some = serving.ends.receive(1);
        answer.insert(answer.end(), some.begin(), some.end());
        const Bytes more =
            serving.ends.receive(std::min<std::size_t>(997, static_cast<std::size_t>(Ends::unread(serving.ends.ours()))));
        answer.insert(answer.end(), more.begin(), more.end());
    }
    CHECK(slice(answer, sizeof(FrameHeader), sizeof(FrameHeader) + expected.numbers.size()) == expected.numbers);
}

TEST(signals_in_between_change_nothing) {
    struct sigaction action{}, before{};
    action.sa_handler = [](int) {};  // without SA_RESTART: it interrupts what the thread waits for
    sigaction(SIGUSR1, &action, &before);
    {
        OneShard shard;
        Serving serving(shard.answers);
        make_small(serving.ends);
        const Expected expected = expected_of(*shard.table->pin(), kLargeAnswer);
        const Bytes frame = frame_of(9, columns_of(kLargeAnswer));
        for (std::size_t at = 0; at < frame.size(); at += 2'000) {
            pthread_kill(serving.thread(), SIGUSR1);
            serving.ends.send(slice(frame, at, std::min(at + 2'000, frame.size())));
            serving.ends.wait_until_read();
        }
        Bytes answer;
        const std::size_t whole = sizeof(FrameHeader) + expected.numbers.size();
        while (answer.size() < whole) {
            serving.ends.wait_for_bytes();
            pthread_kill(serving.thread(), SIGUSR1);
            const Bytes some = serving.ends.receive(std::min<std::size_t>(500, whole - answer.size()));
            answer.insert(answer.end(), some.begin(), some.end());
        }
        CHECK(slice(answer, sizeof(FrameHeader), whole) == expected.numbers);
    }
    sigaction(SIGUSR1, &before, nullptr);
}

TEST(it_is_known_since_when_a_lane_waits) {
    OneShard shard;
    Serving serving(shard.answers);
    make_small(serving.ends);
    const auto waits = [&] { return std::isfinite(serving.lane.waits_since()); };
    wait_until(waits);
    const double first = serving.lane.waits_since();
    const Expected expected = expected_of(*shard.table->pin(), kLargeAnswer);
    serving.ends.send(frame_of(9, columns_of(kLargeAnswer)));
    serving.ends.wait_for_bytes();
    CHECK(!waits());  // it cannot be done with an answer that is larger than the socket
    CHECK(is_answer(receive_frame(serving.ends), 9, expected));
    wait_until(waits);
    CHECK(serving.lane.waits_since() > first);
    serving.ends.send(Bytes(sizeof(FrameHeader)));
    CHECK(serving.handed_back().size() == sizeof(FrameHeader));
    CHECK(!waits());
}

TEST(what_lookups_take_is_counted_up_to_each_bound) {
    const double bounds[] = {0.5, 1.0, 2.0};
    ShardAnswers answers("", 0, 1, {bounds[0], bounds[1], bounds[2]}, {});
    for (const double bound : bounds) {
        answers.took(bound);
        answers.took(std::nextafter(bound, 0.0));
    }
    answers.took(0.0);
    answers.took(-1.0);  // a clock that went back
    answers.took(std::nextafter(2.0, 3.0));
    const LookupTotals totals = answers.totals();
    CHECK(totals.within == (std::vector<std::uint64_t>{4, 2, 2}));
    CHECK(totals.beyond == 1);
    CHECK(totals.nanoseconds >= 8'999'999'990 && totals.nanoseconds <= 9'000'000'010);
    CHECK(totals.lookups == 0);
    ShardAnswers unbounded("", 0, 1, {}, {});
    unbounded.took(0.0);
    CHECK(unbounded.totals().within.empty() && unbounded.totals().beyond == 1);
}
