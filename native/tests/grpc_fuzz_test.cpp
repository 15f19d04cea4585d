// Feeds spoiled conversations of HTTP/2 to a server, and spoiled answers to a client. Each must end in an answer, a refusal or
// the end of the connection, and leave nothing behind. The seed is fixed: a failure here is a failure everywhere.
// PERSIA_FUZZ_MUTANTS sets how many mutants there are.
#include <cstdio>
#include <vector>

#include "check.hpp"
#include "conversations.hpp"
#include "spoiled_frames.hpp"

using namespace persia::grpc;
using persia::fuzz_mutants;

namespace {

// Most of the time at once; else in pieces, down to bytes.
std::size_t some_piece(FrameMutator& mutator) {
    static constexpr std::size_t kPieces[] = {1, 10, 100, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20};
    return kPieces[mutator.below(std::size(kPieces))];
}

// What a server says to the first call of a connection.
std::vector<std::string> server_conversations() {
    Answering answering;
    std::vector<std::string> all;
    for (const std::string& conversation : client_conversations()) {
        answering.server.connect();
        answering.server.take(conversation);
        all.push_back(answering.server.said());
    }
    return all;
}

}  // namespace

TEST(spoiled_conversations_leave_nothing_behind) {
    Answering answering;
    const std::vector<std::string> seeds = client_conversations();
    for (const std::string& seed : seeds) CHECK(answering.hear(seed, 1 << 20));
    CHECK(answering.server.shared->finished >= 2 * seeds.size());
    FrameMutator mutator(20'271'101);
    const std::size_t mutants = fuzz_mutants(20'000);
    std::size_t alive = 0;
    for (std::size_t i = 0; i < mutants; ++i) {
        const std::string bytes = mutator.spoiled(seeds[mutator.below(seeds.size())], kPreface.size());
        alive += answering.hear(bytes, some_piece(mutator)) ? 1 : 0;
        CHECK(answering.server.shared->budget->used() == 0 && answering.server.shared->calls == 0);
    }
    CHECK(answering.most_memory <= Answering::kMemory);
    std::printf("    %zu went on to their ends, %zu were ended; %zu calls, %zu of them refused, %zu given up\n", alive,
                mutants - alive, std::size_t{answering.server.shared->finished}, std::size_t{answering.server.shared->refused},
                std::size_t{answering.server.shared->cancelled});
    CHECK(alive > mutants / 10 && mutants - alive > mutants / 10);
}

TEST(spoiled_answers_end_the_call) {
    const std::vector<std::string> seeds = server_conversations();
    FrameMutator mutator(20'271'102);
    const auto budget = std::make_shared<MemoryBudget>(1 << 20);
    const std::size_t mutants = fuzz_mutants(20'000);
    std::size_t good = 0, words = 0, lost = 0;
    for (std::size_t i = 0; i < mutants; ++i) {
        const auto reply = end_of(mutator.spoiled(seeds[mutator.below(seeds.size())], 0), some_piece(mutator), budget);
        CHECK(reply.has_value());
        if (!reply) continue;
        ++(reply->status.ok() ? good : reply->is_servers_word ? words : lost);
        CHECK(reply->status.ok() || reply->message.size() == 0);
    }
    CHECK(budget->used() == 0);
    std::printf("    %zu answered, %zu refused, %zu lost\n", good, words, lost);
    CHECK(good > mutants / 10 && lost > mutants / 10);
}
