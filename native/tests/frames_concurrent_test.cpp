// Several askers, each with its own connections to lanes over one shard, while layers are published and the table is taken
// away and given back. Every answer must be of one whole version, and every request answered or handed back.
#include <atomic>
#include <cmath>
#include <list>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "callers.hpp"
#include "check.hpp"
#include "lanes.hpp"

using namespace persia;

namespace {

constexpr std::uint64_t kSigns = 300;
constexpr std::uint32_t kDim = 4;
constexpr std::size_t kAskers = 3, kConnections = 2, kRequests = 200, kVersions = 50;  // at least
const Bytes kHandedBack = bytes_of_text("handed back");

// Answers what the lane hands back, as its owner would: by saying so.
class Connection {
  public:
    explicit Connection(ShardAnswers& answers) : lane(answers), call(ends.theirs(), 2, 1 << 20), thread_([this] { serve(); }) {
        make_nonblocking(ends.theirs());
    }
    ~Connection() {
        shutdown(ends.theirs(), SHUT_RDWR);
        thread_.join();
    }

    Ends ends;  // the lane has ours: it blocks
    FrameLane lane;
    FrameCall call;
    std::atomic<std::size_t> handed_back{0};

  private:
    void serve() {
        for (;;) {
            Bytes request;
            try {
                const auto rest = lane.serve(ends.ours());
                request.assign(rest.begin(), rest.end());
            } catch (const IoError&) {
                return;
            }
            if (request.empty()) return;
            FrameHeader header;
            std::memcpy(&header, request.data(), sizeof(header));
            ++handed_back;
            ends.send(frame_of(header.turn, {{}, kHandedBack}));
        }
    }

    std::thread thread_;
};

// In each version, the row of a sign is kDim times value(sign, factor): numbers that f32 and f16 have, or round alike.
float factor_of(std::uint64_t version) { return static_cast<float>(version % 199 + 1); }

bool is_right(const FrameCall::Answer& answer, AnswerKind kind, const std::vector<std::uint64_t>& signs) {
    const std::byte* numbers = answer.frame.get() + sizeof(FrameHeader);
    const std::byte* message = numbers + answer.header.lengths[0];
    const Response response = response_of({message, message + answer.header.lengths[1]});
    const auto factor = factor_of(response.version);
    std::vector<float> rows, sums(kDim);
    for (const std::uint64_t sign : signs) {
        rows.insert(rows.end(), kDim, value(sign, factor));
        for (float& sum : sums) sum += value(sign, factor);
    }
    std::vector<std::uint16_t> halves(rows.size());
    to_half(rows.data(), halves.data(), rows.size());
    const Bytes want = kind == AnswerKind::rows ? bytes_of(rows) : kind == AnswerKind::sums ? bytes_of(sums) : bytes_of(halves);
    return response.absent == 0 && response.server_start == kStart && Bytes(numbers, message) == want;
}

bool is_handed_back(const FrameCall::Answer& answer) {
    const std::byte* message = answer.frame.get() + sizeof(FrameHeader) + answer.header.lengths[0];
    return Bytes(message, message + answer.header.lengths[1]) == kHandedBack;
}

Wire wire_of(AnswerKind kind, const std::vector<std::uint64_t>& signs) {
    const auto n = static_cast<std::uint32_t>(signs.size());
    const RequestPart part{0, kind, kDim, 1, n, n};
    Wire wire{{bytes_of(std::vector{part}), bytes_of(signs), {}, {}}};
    if (kind != AnswerKind::sums) return wire;
    wire.columns[2] = bytes_of(std::vector<std::uint32_t>(n, 1));
    wire.columns[3] = bytes_of(std::vector<std::uint16_t>(n));
    return wire;
}

struct Counts {
    std::atomic<std::size_t> versions{0}, asked{0}, answered{0}, handed_back{0}, wrong{0}, signs{0};
};

void ask_all(std::list<Connection>& connections, std::uint64_t seed, Counts& counts) {
    std::mt19937_64 random(seed);
    std::vector<FrameCall*> calls;
    for (Connection& connection : connections) calls.push_back(&connection.call);
    for (std::size_t i = 0; i < kRequests || counts.versions < kVersions; ++i) {
        counts.asked += connections.size();
        const auto kind = static_cast<AnswerKind>(random() % 3);
        std::vector<std::uint64_t> signs(1 + random() % 1'000);
        for (std::uint64_t& sign : signs) sign = random() % kSigns;
        for (Connection& connection : connections) {
            ask(connection.call, static_cast<std::uint16_t>(random()), columns_of(wire_of(kind, signs)));
        }
        exchange_all(calls, kPatienceSeconds, i % 2 == 0 ? 0.0 : 1e-3);
        for (Connection& connection : connections) {
            if (connection.call.state() != FrameCall::State::whole) {
                ++counts.wrong;
                return;
            }
            const FrameCall::Answer answer = connection.call.take();
            if (is_handed_back(answer)) {
                ++counts.handed_back;
                continue;
            }
            counts.wrong += !is_right(answer, kind, signs);
            counts.signs += signs.size();
            ++counts.answered;
        }
    }
}

}  // namespace

TEST(every_answer_is_of_one_version_while_tables_come_and_go) {
    OneShard shard(std::make_unique<Table>(*filled({.max_layers = 3}, 0, kSigns, kDim, 1.0F)));
    std::vector<std::list<Connection>> connections(kAskers);
    for (auto& own : connections) {
        for (std::size_t i = 0; i < kConnections; ++i) own.emplace_back(shard.answers);
    }
    Counts counts;
    std::atomic<std::size_t> asking{kAskers};
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < kAskers; ++i) {
        threads.emplace_back([&, i] {
            ask_all(connections[i], i, counts);
            --asking;
        });
    }
    const auto until_more = [&](const std::atomic<std::size_t>& count, std::size_t more) {
        const std::size_t seen = count;
        while (asking != 0 && count < seen + more) std::this_thread::yield();
    };
    threads.emplace_back([&] {
        while (asking != 0) {
            until_more(counts.answered, 20);
            shard.answers.close();
            until_more(counts.handed_back, 1);
            shard.answers.open(*shard.table, kCheckpoint);
        }
    });
    threads.emplace_back([&] {  // reads what is known of them, meanwhile
        std::uint64_t lookups = 0;
        while (asking != 0) {
            const LookupTotals totals = shard.answers.totals();
            counts.wrong += totals.lookups < lookups;
            lookups = totals.lookups;
            for (const auto& own : connections) {
                for (const Connection& connection : own) counts.wrong += std::isnan(connection.lane.waits_since());
            }
        }
    });
    for (std::uint64_t version = 1; asking != 0; ++version) {
        shard.table->publish(layer_of(0, kSigns, kDim, factor_of(version)));
        ++counts.versions;
        std::this_thread::yield();
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(counts.wrong == 0);
    CHECK(counts.answered + counts.handed_back == counts.asked);
    CHECK(counts.answered > kRequests / 4 && counts.handed_back > kRequests / 20);
    const LookupTotals totals = shard.answers.totals();
    CHECK(totals.lookups == counts.answered && totals.signs == counts.signs);
    std::uint64_t taken = totals.beyond;
    for (const std::uint64_t count : totals.within) taken += count;
    CHECK(taken == counts.answered);
    std::size_t handed_back = 0;
    for (const auto& own : connections) {
        for (const Connection& connection : own) handed_back += connection.handed_back;
    }
    CHECK(handed_back == counts.handed_back);
    std::printf("%zu answered, %zu handed back, %zu versions\n", counts.answered.load(), handed_back, counts.versions.load());
}

TEST(nothing_that_is_counted_by_several_at_a_time_is_lost) {
    constexpr std::uint64_t kThreads = 4, kTimes = 20'000;
    ShardAnswers answers("", 0, 1, {1.0}, {"a", "b"});
    const RequestPart parts[] = {{.feature = feature_id("b"), .signs = 2}, {.feature = 7, .signs = 1}};
    const RunMisses by_part[] = {{0, 2}, {1, 0}};
    std::atomic<std::uint64_t> ready{0};
    std::vector<std::thread> threads;
    for (std::uint64_t i = 0; i < kThreads; ++i) {
        threads.emplace_back([&] {
            ++ready;
            while (ready != kThreads) std::this_thread::yield();
            for (std::uint64_t time = 0; time < kTimes; ++time) {
                answers.count(parts, {1, 2}, by_part);
                answers.took(time % 2 == 0 ? 0.5 : 2.0);
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    constexpr std::uint64_t kAll = kThreads * kTimes;
    const LookupTotals totals = answers.totals();
    CHECK(totals.lookups == kAll && totals.signs == 3 * kAll);
    CHECK(totals.misses.absent == kAll && totals.misses.wrong_dim == 2 * kAll);
    const std::vector<FeatureCount> features = answers.features().totals();
    CHECK(features.at(0).ids == 0 && features.at(1).ids == 2 * kAll && features.at(2).ids == kAll);
    CHECK(features.at(1).misses.wrong_dim == 2 * kAll && features.at(2).misses.absent == kAll);
    CHECK(totals.within.at(0) == kAll / 2 && totals.beyond == kAll / 2);
    CHECK(totals.nanoseconds == kAll / 2 * 2'500'000'000);
}
