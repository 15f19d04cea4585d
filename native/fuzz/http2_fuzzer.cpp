// What a client or a server may say, found by libFuzzer: it keeps what reaches new code, and spoils that further.
//
// The first byte says who hears the rest, and in which pieces it comes. Whoever hears it must come to an end, and hold nothing
// afterwards.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "conversations.hpp"
#include "spoiled_frames.hpp"

using namespace persia::grpc;

namespace {

enum class Hearer { server, client, lookup };

Hearer hearer_of(std::uint8_t first) {
    constexpr std::uint8_t kHearers = 3;
    return static_cast<Hearer>(first % kHearers);
}

void must(bool condition) {
    if (!condition) std::abort();
}

Answering& answering() {
    static Answering one;
    return one;
}

void lookup(std::string_view bytes) {
    const auto call = persia::call_with(*answering().shard.method, std::as_bytes(std::span(bytes)));
    must(call->ended);
}

// What each of them is told when all is well, with the byte before it.
const std::vector<std::string>& seeds() {
    static const std::vector<std::string> all = [] {
        std::vector<std::string> made;
        const auto add = [&](Hearer hearer, std::string_view bytes) {
            made.push_back(static_cast<char>(hearer) + std::string(bytes));
        };
        for (const std::string& conversation : client_conversations()) {
            add(Hearer::server, conversation);
            answering().server.connect();
            answering().server.take(conversation);
            add(Hearer::client, answering().server.said());
        }
        for (const persia::Wire& columns : persia::valid_requests()) {
            add(Hearer::lookup, text_of_message(persia::aligned_message(columns)));
            add(Hearer::lookup, text_of_message(persia::plain_message(columns)));
        }
        return made;
    }();
    return all;
}

}  // namespace

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

// Half of the time frames are spoiled as frames.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
    FrameMutator mutator(seed);
    std::string one(reinterpret_cast<const char*>(data), size);
    if (size < 2 || mutator.below(100) == 0) one = seeds()[mutator.below(seeds().size())];
    if (mutator.below(2) == 0 && hearer_of(static_cast<std::uint8_t>(one[0])) != Hearer::lookup) {
        const bool has_preface = one.compare(1, kPreface.size(), kPreface) == 0;
        one = one[0] + mutator.spoiled(std::string_view(one).substr(1), has_preface ? kPreface.size() : 0);
    }
    one.resize(std::min(one.size(), most));
    std::memcpy(data, one.data(), one.size());
    return mutator.below(2) == 0 ? one.size() : LLVMFuzzerMutate(data, one.size(), most);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
    const std::size_t piece = data[0] < 128 ? std::size_t{1} << 20 : 1 + data[0] % 50;
    switch (hearer_of(data[0])) {
        case Hearer::server:
            answering().hear(bytes, piece);
            must(answering().server.shared->budget->used() == 0 && answering().server.shared->calls == 0);
            break;
        case Hearer::client:
            must(end_of(bytes, piece).has_value());
            break;
        case Hearer::lookup:
            lookup(bytes);
    }
    return 0;
}
