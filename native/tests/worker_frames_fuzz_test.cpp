// Feeds spoiled replies of workers to their reader. Each must be read or refused, in the same way however it is cut into
// pieces, and take no more memory than has come. The seed is fixed: a failure here is a failure everywhere. PERSIA_FUZZ_MUTANTS
// sets how many mutants there are.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "check.hpp"
#include "inference/worker_frames.hpp"
#include "spoiling.hpp"

using namespace persia::inference;
using persia::fuzz_mutants;

namespace {

constexpr std::size_t kMostBody = 1'000;

std::string number(std::uint32_t value) {
    return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
            static_cast<char>(value)};
}

std::string text(const std::string& words) { return number(static_cast<std::uint32_t>(words.size())) + words; }

std::string prediction(const std::string& id, const std::string& body, bool streams) {
    return text(id) + text("application/json") + number(200) + text("OK") + number(streams ? 2 : 1) + text("a") + text("b") +
           (streams ? text("ts_stream_next") + text("true") : "") + text(body);
}

const std::vector<std::string>& seeds() {
    static const std::vector<std::string> all = {
        number(200) + text("Prediction success") + prediction("id-1", "[1]", false) + prediction("id-2", "", false) +
            number(0xffffffff),
        number(503) + text("Prediction failed") + number(0xffffffff),
        number(200) + text("") + prediction("id-1", std::string(900, 'x'), true) + number(0xffffffff) + number(200) + text("") +
            prediction("id-1", std::string(2'000, 'y'), false) + number(0xffffffff),
    };
    return all;
}

class Mutator : public persia::Spoiler {
  public:
    using Spoiler::Spoiler;

    std::string next() {
        std::string bytes = seeds()[below(seeds().size())];
        for (std::size_t n = below(4); n > 0 && !bytes.empty(); --n) mutate(bytes);
        return bytes;
    }

  private:
    void mutate(std::string& bytes) {
        static constexpr std::uint32_t kNumbers[] = {0,     1,      0xffffffff, 0x7fffffff,    0x80000000,
                                                     1'000, 10'001, 16 << 20,   (16 << 20) + 1};
        const std::size_t at = below(bytes.size());
        switch (below(6)) {
            case 0:
                bytes.insert(at, bytes.substr(at, 1 + below(60)));
                break;
            case 1:
                bytes.insert(at, number(kNumbers[below(std::size(kNumbers))]));
                break;
            case 2:
                bytes.replace(at, 4, number(kNumbers[below(std::size(kNumbers))]));
                break;
            default:
                spoil(bytes, at);
        }
    }
};

// What was read, in words; and whether it ended in a refusal.
struct Read {
    std::string replies;
    bool refused = false;
    bool operator==(const Read&) const = default;
};

Read read(std::string_view bytes, std::size_t piece) {
    ReplyReader reader(kMostBody);
    Read read;
    try {
        while (!bytes.empty()) {
            const auto room = reader.room();
            std::size_t taken = std::min(piece, bytes.size());
            if (!room.empty()) {
                taken = std::min(taken, room.size());
                std::memcpy(room.data(), bytes.data(), taken);
                reader.feed_room(taken);
            } else {
                taken = reader.feed(std::as_bytes(std::span(bytes.substr(0, taken))));
            }
            bytes.remove_prefix(taken);
            if (!reader.complete()) continue;
            const WorkerReply reply = reader.take();
            read.replies += std::to_string(reply.code) + reply.message;
            for (const Prediction& one : reply.predictions) {
                CHECK(one.body.size() <= kMostBody && (!one.too_large || one.body.empty()));
                read.replies += one.request_id + one.content_type + std::to_string(one.status) + one.reason;
                for (const auto& [name, value] : one.headers) read.replies += name + value;
                read.replies.append(reinterpret_cast<const char*>(one.body.data()), one.body.size());
            }
        }
    } catch (const persia::DecodeError&) {
        read.refused = true;
    }
    return read;
}

}  // namespace

TEST(spoiled_replies_are_read_or_refused) {
    for (const std::string& seed : seeds()) CHECK(!read(seed, seed.size()).refused && !read(seed, 1).replies.empty());
    Mutator mutator(20'281'129);
    const std::size_t mutants = fuzz_mutants(20'000);
    std::size_t whole = 0, refused = 0;
    for (std::size_t i = 0; i < mutants; ++i) {
        const std::string bytes = mutator.next();
        const Read once = read(bytes, bytes.size() + 1);
        CHECK(once == read(bytes, 1 + mutator.below(9)));
        whole += !once.refused && !once.replies.empty() ? 1 : 0;
        refused += once.refused ? 1 : 0;
    }
    std::printf("    %zu read, %zu refused\n", whole, refused);
    CHECK(whole > mutants / 10 && refused > mutants / 20);
}
