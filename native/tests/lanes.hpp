// A lane that serves in a thread, what it is asked for, and what its answers say.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstring>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "frames.hpp"
#include "persia/error.hpp"
#include "persia/frame_lane.hpp"
#include "spoiled_requests.hpp"

namespace persia {

constexpr std::size_t kMaxNumbers = 20'000;
constexpr std::uint64_t kStart = 0x8877665544332211;
constexpr std::uint64_t kCheckpoint = 0x0102030405060708;
const std::string kMessage{"\x30\x01\x38\x03"};  // shard_index = 1, shard_count = 3

struct OneShard {
    explicit OneShard(std::unique_ptr<Table> rows = table_for_requests(), std::string message = kMessage)
        : table(std::move(rows)), answers(std::move(message), kStart, kMaxNumbers, {1e-9, 1e-6, 1e-3, 1e3}, {"a"}) {
        answers.open(*table, kCheckpoint);
    }

    std::unique_ptr<Table> table;
    ShardAnswers answers;
};

class Serving {
  public:
    explicit Serving(ShardAnswers& answers) : lane(answers) { start(); }
    ~Serving() {
        shutdown(ends.ours(), SHUT_RDWR);
        ends.close_ours();
        if (thread_.joinable()) thread_.join();
    }

    void start() {
        done_ = std::promise<void>();
        thread_ = std::thread([this] {
            try {
                const auto rest = lane.serve(ends.theirs());
                handed_back_.assign(rest.begin(), rest.end());
            } catch (const IoError& error) {
                error_ = error.code;
            }
            done_.set_value();
        });
    }

    // What serve() handed back; empty also at the end of the connection, and when it failed.
    Bytes handed_back() {
        const bool done = done_.get_future().wait_for(std::chrono::seconds(kPatienceSeconds)) == std::future_status::ready;
        if (!done) shutdown(ends.ours(), SHUT_RDWR);
        thread_.join();
        if (!done) throw std::runtime_error("the lane has kept the request");
        return handed_back_;
    }
    // After handed_back(): why serve() failed; 0: it did not.
    int error() const { return error_; }
    pthread_t thread() { return thread_.native_handle(); }

    Ends ends;
    FrameLane lane;

  private:
    Bytes handed_back_;
    int error_ = 0;
    std::promise<void> done_;
    std::thread thread_;
};

inline std::vector<Bytes> columns_of(const Wire& wire, const std::string& message = kMessage) {
    std::vector<Bytes> columns(wire.columns, wire.columns + kColumns);
    columns.push_back(bytes_of_text(message));
    return columns;
}

// Of one part, without columns of sums.
inline Wire request_for(AnswerKind kind, std::uint32_t dim, const std::vector<std::uint64_t>& signs) {
    const RequestPart part{0, kind, dim, 1, static_cast<std::uint32_t>(signs.size()), 0};
    return {{bytes_of(std::vector<RequestPart>{part}), bytes_of(signs), {}, {}}};
}

struct Response {
    std::uint64_t version = 0, absent = 0, wrong_dim = 0, server_start = 0;
    std::uint64_t checkpoint = kCheckpoint;
    Bytes misses = {};  // by part

    bool operator==(const Response&) const = default;
};

// A LookupResponse of protos/persia/v1/embedding.proto without its numbers. Throws for anything else.
inline Response response_of(const Bytes& message) {
    Response response{.checkpoint = 0};
    std::size_t at = 0;
    const auto next = [&] { return std::to_integer<std::uint64_t>(message.at(at++)); };
    const auto varint = [&] {
        std::uint64_t value = 0, byte = 0x80;
        for (unsigned shift = 0; (byte & 0x80) != 0; shift += 7) value |= ((byte = next()) & 0x7f) << shift;
        return value;
    };
    while (at < message.size()) {
        switch (varint()) {
            case 3 << 3:
                response.version = varint();
                break;
            case 4 << 3:
                response.absent = varint();
                break;
            case 5 << 3:
                response.wrong_dim = varint();
                break;
            case 7 << 3 | 1:
                for (unsigned shift = 0; shift < 64; shift += 8) response.server_start |= next() << shift;
                break;
            case 9 << 3 | 1:
                for (unsigned shift = 0; shift < 64; shift += 8) response.checkpoint |= next() << shift;
                break;
            case 8 << 3 | 2:
                for (std::uint64_t left = varint(); left > 0; --left) response.misses.push_back(message.at(at++));
                break;
            default:
                throw std::runtime_error("a field that was not expected");
        }
    }
    return response;
}

// The whole frame that answers a request, by a naive loop, but for the message; and what the message must say.
struct Expected {
    Bytes numbers;
    Response response;
};

inline Expected expected_of(const Snapshot& snapshot, const Wire& wire) {
    const auto parts = items_of<RequestPart>(wire.columns[0]);
    const auto signs = items_of<std::uint64_t>(wire.columns[1]);
    const auto counts = items_of<std::uint32_t>(wire.columns[2]);
    const auto samples = items_of<std::uint16_t>(wire.columns[3]);
    const RequestView request{parts, signs, counts, samples};
    check_request(request, kMaxNumbers);
    Misses misses;
    std::vector<RunMisses> by_part;
    Bytes numbers = naive_answer(snapshot, request, misses, by_part);
    return {std::move(numbers), {snapshot.version(), misses.absent, misses.wrong_dim, kStart, kCheckpoint, bytes_of(by_part)}};
}

inline bool is_answer(const std::optional<Frame>& frame, std::uint16_t turn, const Expected& expected) {
    return frame && frame->header.turn == turn && frame->columns.size() == 2 && frame->columns[0] == expected.numbers &&
           response_of(frame->columns[1]) == expected.response;
}

}  // namespace persia
