// What a lane leaves to others comes back byte for byte, and how connections end.
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "check.hpp"
#include "lanes.hpp"

using namespace persia;

namespace {

const Wire kRequest = valid_requests().front();
const std::size_t kFirstRead = 64 << 10;

// Of a lane that has answered a request before.
Bytes handed_back_by(Serving& serving, const Bytes& sent, const std::string& message = kMessage) {
    serving.ends.send(frame_of(1, columns_of(kRequest, message)));
    CHECK(receive_frame(serving.ends));
    serving.ends.send(sent);
    return serving.handed_back();
}

void expect_back(const Bytes& sent, const std::string& message = kMessage) {
    OneShard shard(table_for_requests(), message);
    Serving serving(shard.answers);
    CHECK(handed_back_by(serving, sent, message) == sent);
    CHECK(serving.error() == 0);
    CHECK(!std::isfinite(serving.lane.waits_since()));
    CHECK(Ends::unread(serving.ends.ours()) == 0);  // nothing was said to it
    CHECK(shard.answers.totals().lookups == 1);
}

}  // namespace

TEST(a_request_with_another_message_comes_back) {
    expect_back(frame_of(2, columns_of(kRequest, "")));
    expect_back(frame_of(2, columns_of(kRequest, kMessage + "\x08\x01")));
    expect_back(frame_of(2, columns_of(kRequest, kMessage.substr(0, 3))));
    expect_back(frame_of(2, columns_of(kRequest, "\x30\x02\x38\x03")));
}

TEST(what_is_no_request_comes_back) {
    FrameHeader header = header_of(2, columns_of(kRequest));
    header.magic[3] = '2';
    expect_back(frame_of(header, columns_of(kRequest)));
    const std::string http = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    expect_back(bytes_of_text(http));
    for (const std::uint16_t columns : {0, 4, 6, 7, 65'535}) {
        header = header_of(2, columns_of(kRequest));
        header.columns = columns;
        expect_back(frame_of(header, columns_of(kRequest)));
    }
    header = header_of(2, columns_of(kRequest));
    header.lengths[5] = 1;  // beyond the columns that it has
    expect_back(frame_of(header, columns_of(kRequest)));
}

TEST(columns_that_are_not_in_whole_items_come_back) {
    for (std::size_t column = 0; column < kColumns; ++column) {
        Wire wire = kRequest;
        wire.columns[column].push_back(std::byte{0});
        expect_back(frame_of(2, columns_of(wire)));
        expect_back(frame_of(2, columns_of(wire, "")), "");
    }
}

TEST(columns_that_do_not_fit_come_back) {
    Wire wire = kRequest;
    wire.columns[1].resize(wire.columns[1].size() - 8);
    expect_back(frame_of(2, columns_of(wire)));
    expect_back(frame_of(2, columns_of(request_for(static_cast<AnswerKind>(3), 4, {1}))));
    expect_back(frame_of(2, columns_of(request_for(AnswerKind::rows, 0, {1}))));
}

TEST(requests_for_too_much_come_back) {
    expect_back(frame_of(2, columns_of(request_for(AnswerKind::rows, 4, range(0, kMaxNumbers / 4 + 1)))));
    expect_back(frame_of(2, columns_of(request_for(AnswerKind::halves, 5, range(0, kMaxNumbers / 5 * 2 + 1)))));
}

TEST(of_a_request_that_announces_too_much_comes_back_what_was_sent) {
    FrameHeader header = header_of(2, columns_of(kRequest));
    header.lengths[1] = 16 << 20;
    expect_back(frame_of(header, {Bytes(100)}));
    header.lengths[0] = header.lengths[2] = header.lengths[4] = 0xffffffff;
    expect_back(frame_of(header, {}));
}

TEST(a_large_request_comes_back_whole_if_it_was_read_whole) {
    const Wire wire = request_for(AnswerKind::rows, 1, range(0, 15'000));
    expect_back(frame_of(2, columns_of(wire, "another")));
    // A header that is not for it, after which it reads no more.
    OneShard shard;
    Serving serving(shard.answers);
    FrameHeader header = header_of(2, columns_of(wire));
    header.magic[0] = 'X';
    const Bytes sent = frame_of(header, columns_of(wire));
    Bytes back = handed_back_by(serving, sent);
    CHECK(back.size() >= sizeof(header) && back.size() <= kFirstRead);
    std::vector<std::byte> left(sent.size() - back.size());
    CHECK(recv(serving.ends.theirs(), left.data(), left.size(), MSG_WAITALL) == static_cast<ssize_t>(left.size()));
    back.insert(back.end(), left.begin(), left.end());
    CHECK(back == sent);
}

TEST(without_a_table_requests_come_back_and_with_one_they_are_answered_again) {
    OneShard shard;
    Serving serving(shard.answers);
    serving.ends.send(frame_of(1, columns_of(kRequest)));
    CHECK(receive_frame(serving.ends));
    wait_until([&] { return std::isfinite(serving.lane.waits_since()); });
    shard.answers.close();  // while it waits for the next one
    const Bytes sent = frame_of(2, columns_of(kRequest));
    serving.ends.send(sent);
    CHECK(serving.handed_back() == sent);
    shard.answers.open(*shard.table, kCheckpoint);
    serving.start();
    serving.ends.send(sent);
    CHECK(is_answer(receive_frame(serving.ends), 2, expected_of(*shard.table->pin(), kRequest)));
}

TEST(requests_that_come_together_come_back_together) {
    const Bytes one = frame_of(2, columns_of(kRequest));
    Bytes two = one;
    const Bytes second = frame_of(3, columns_of(kRequest));
    two.insert(two.end(), second.begin(), second.end());
    expect_back(two);
    two.resize(one.size() + 1);
    expect_back(two);
}

TEST(a_request_that_comes_behind_a_large_one_is_answered_after_it) {
    OneShard shard;
    Serving serving(shard.answers);
    const Wire large = request_for(AnswerKind::rows, 1, range(0, 15'000));
    Bytes two = frame_of(2, columns_of(large));
    const Bytes second = frame_of(3, columns_of(kRequest));
    two.insert(two.end(), second.begin(), second.end());
    serving.ends.send(two);
    CHECK(is_answer(receive_frame(serving.ends), 2, expected_of(*shard.table->pin(), large)));
    CHECK(is_answer(receive_frame(serving.ends), 3, expected_of(*shard.table->pin(), kRequest)));
}

TEST(an_end_leaves_nothing_wherever_it_comes) {
    OneShard shard;
    const Bytes frame = frame_of(2, columns_of(kRequest));
    for (std::size_t size = 0; size < frame.size(); ++size) {
        Serving serving(shard.answers);
        serving.ends.send(std::span(frame).first(size));
        shutdown(serving.ends.ours(), SHUT_WR);
        CHECK(serving.handed_back().empty());
        CHECK(serving.error() == 0);
    }
    CHECK(shard.answers.totals().lookups == 0);
}

TEST(a_connection_that_is_lost_is_an_io_error) {
    OneShard shard;
    {
        Serving serving(shard.answers);
        serving.ends.send(frame_of(2, columns_of(kRequest)));
        serving.ends.wait_for_bytes();
        serving.ends.close_ours();  // without having read the answer
        CHECK(serving.handed_back().empty());
        CHECK(serving.error() == ECONNRESET || serving.error() == EPIPE);
    }
    {
        Serving serving(shard.answers);
        const int size = 4'096;
        setsockopt(serving.ends.theirs(), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        serving.ends.send(frame_of(2, columns_of(request_for(AnswerKind::rows, 4, range(0, 5'000)))));
        serving.ends.wait_for_bytes();
        serving.ends.close_ours();  // while it sends
        CHECK(serving.handed_back().empty());
        CHECK(serving.error() == EPIPE || serving.error() == ECONNRESET);
    }
}

TEST(who_stops_halfway_is_given_up_and_who_says_nothing_is_not) {
    OneShard shard;
    Ends ends;
    const timeval patience{0, 1'000};
    setsockopt(ends.theirs(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    const Bytes frame = frame_of(2, columns_of(kRequest));
    for (const std::size_t size : {std::size_t{1}, sizeof(FrameHeader), frame.size() - 1}) {
        FrameLane lane(shard.answers);
        ends.send(std::span(frame).first(size));
        int error = 0;
        try {
            lane.serve(ends.theirs());
        } catch (const IoError& io) {
            error = io.code;
        }
        CHECK(error == EAGAIN);
    }
    Serving serving(shard.answers);
    setsockopt(serving.ends.theirs(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    for (int i = 0; i < 3; ++i) {
        serving.ends.send(frame);
        CHECK(receive_frame(serving.ends));
        pollfd closed{serving.ends.ours(), POLLIN, 0};
        CHECK(poll(&closed, 1, 10) == 0);  // ten times its patience
    }
}

// The numbers of the fields that response_of() looks for are those of the schema.
TEST(an_answer_says_what_the_schema_says) {
    std::ifstream file(PERSIA_TEST_DATA "/../../protos/persia/v1/embedding.proto");
    const std::string schema(std::istreambuf_iterator<char>(file), {});
    const std::size_t begin = schema.find("message LookupResponse {");
    CHECK(begin != std::string::npos);
    const std::string response = schema.substr(begin, schema.find("\n}", begin) - begin);
    for (const char* field : {"bytes numbers = 2;", "uint64 version = 3;", "uint64 absent = 4;", "uint64 wrong_dim = 5;",
                              "fixed64 server_start = 7;"}) {
        CHECK(response.find(field) != std::string::npos);
    }
}
