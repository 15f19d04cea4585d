// Feeds spoiled frames to lanes. Each must end in the answer that a naive loop gives too, in its bytes handed back, or in the
// end of the connection. The seed is fixed: a failure here is a failure everywhere. PERSIA_FUZZ_MUTANTS sets how many there
// are.
#include <random>
#include <thread>
#include <vector>

#include "check.hpp"
#include "lanes.hpp"

using namespace persia;

namespace {

// Mostly of columns that were spoiled, in a frame that fits them; and frames that were spoiled themselves.
class Frames {
  public:
    Bytes next() {
        const auto columns = columns_of(mutator_.next(), below(16) == 0 ? "another" : kMessage);
        FrameHeader header = header_of(static_cast<std::uint16_t>(random_()), columns);
        if (below(3) == 0) {
            static constexpr std::uint32_t lengths[] = {0, 1, 24, 4'096, 16 << 20, 0x7fffffff, 0xffffffff};
            std::uint32_t& length = header.lengths[below(kMaxFrameColumns)];
            length = below(2) == 0 ? lengths[below(std::size(lengths))] : length + static_cast<std::uint32_t>(below(17)) - 8;
        }
        Bytes frame = frame_of(header, columns);
        if (below(8) == 0) frame[below(8)] ^= static_cast<std::byte>(1U << below(8));  // magic, columns and turn
        if (below(8) == 0) frame.resize(below(frame.size()));
        if (below(8) == 0) frame.resize(frame.size() + below(100));
        return frame;
    }

    std::size_t below(std::size_t limit) { return static_cast<std::size_t>(random_() % limit); }

  private:
    std::mt19937_64 random_{20'261'120};
    Mutator mutator_;
};

struct Outcomes {
    std::size_t answered = 0, back = 0, ended = 0;
};

// What the lane would find in the bytes: a whole request of the right form, or nothing.
std::optional<Wire> request_in(const Bytes& sent, FrameHeader& header) {
    if (sent.size() < sizeof(header)) return {};
    std::memcpy(&header, sent.data(), sizeof(header));
    if (!header.fits(kColumns + 1) || header.size() != sent.size()) return {};
    Wire wire;
    auto at = sent.begin() + sizeof(header);
    for (std::size_t i = 0; i < kColumns; ++i) {
        wire.columns[i] = Bytes(at, at + header.lengths[i]);
        at += header.lengths[i];
    }
    if (Bytes(at, sent.end()) != bytes_of_text(kMessage)) return {};
    return wire;
}

std::optional<Expected> answer_to(const Bytes& sent, const Snapshot& snapshot, FrameHeader& header) {
    const auto wire = request_in(sent, header);
    if (!wire) return {};
    try {
        return expected_of(snapshot, *wire);
    } catch (const Error&) {
        return {};
    }
}

// Whether the lane must wait for more, and so sees the end.
bool is_cut_short(const Bytes& sent) {
    FrameHeader header;
    if (sent.size() < sizeof(header)) return true;
    std::memcpy(&header, sent.data(), sizeof(header));
    return header.fits(kColumns + 1) && header.size() <= (16 << 20) && sent.size() < header.size();
}

}  // namespace

TEST(spoiled_frames_end_in_the_right_answer_in_their_bytes_or_in_the_end) {
    OneShard shard;
    const auto snapshot = shard.table->pin();
    const std::size_t mutants = fuzz_mutants(20'000);
    Frames frames;
    FrameLane lane(shard.answers);  // of one connection after the other, as its memory is worth a look
    Outcomes outcomes;
    for (std::size_t i = 0; i < mutants; ++i) {
        const Bytes sent = frames.next();
        const Ends ends;
        // All of an answer at a time, without a switch of threads; or in pieces that must be taken meanwhile.
        const bool in_pieces = frames.below(32) == 0;
        const int room = in_pieces ? 4'096 : 8 * static_cast<int>(kMaxNumbers);
        setsockopt(ends.theirs(), SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
        ends.send(sent);
        shutdown(ends.ours(), SHUT_WR);
        std::optional<Frame> reply;
        const auto take = [&] { reply = receive_frame(ends); };
        std::thread peer;
        if (in_pieces) peer = std::thread(take);
        const auto rest = lane.serve(ends.theirs());
        const Bytes back(rest.begin(), rest.end());
        shutdown(ends.theirs(), SHUT_RDWR);
        if (in_pieces) {
            peer.join();
        } else {
            take();
        }
        FrameHeader header;
        if (const auto expected = answer_to(sent, *snapshot, header)) {
            CHECK(is_answer(reply, header.turn, *expected));
            CHECK(back.empty());
            ++outcomes.answered;
        } else {
            CHECK(!reply);
            CHECK(is_cut_short(sent) ? back.empty() : back == sent);
            ++(back.empty() ? outcomes.ended : outcomes.back);
        }
    }
    std::printf("%zu answered, %zu handed back, %zu ended\n", outcomes.answered, outcomes.back, outcomes.ended);
    CHECK(outcomes.answered > mutants / 10);
    CHECK(outcomes.back > mutants / 10);
    CHECK(outcomes.ended > mutants / 20);
    CHECK(shard.answers.totals().lookups == outcomes.answered);
}
