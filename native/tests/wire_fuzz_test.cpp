// Feeds spoiled messages to those who read them. Each must end in a typed error, in a refusal, or in what a naive loop gives
// too. The seed is fixed: a failure here is a failure everywhere. PERSIA_FUZZ_MUTANTS sets how many mutants there are.
#include <cstdio>
#include <vector>

#include "base/error.hpp"
#include "check.hpp"
#include "one_shard.hpp"
#include "wire/forward.hpp"

using namespace persia;
using grpc::Code;

namespace {

// A message of the columns' mutants, as one client or the other writes it; spoiled itself in half of the cases.
class Requests {
  public:
    Bytes next() {
        const Wire columns = columns_.next();
        Bytes message;
        try {
            message = bytes_.below(2) == 0 ? plain_message(columns) : aligned_message(columns);
        } catch (const InvalidInput&) {
            message = plain_message(columns);  // items that are not whole
        }
        return bytes_.below(2) == 0 ? message : bytes_.spoiled(message);
    }

  private:
    Mutator columns_;
    MessageMutator bytes_{20'270'101};
};

bool equal(wire::ForwardResponse& one, wire::ForwardResponse& other) {
    const wire::ForwardFacts &a = one.facts(), &b = other.facts();
    return a.versions == b.versions && a.missing_shards == b.missing_shards && a.misses.absent == b.misses.absent &&
           a.misses.wrong_dim == b.misses.wrong_dim && a.embedding_config_id == b.embedding_config_id &&
           a.checkpoint_id == b.checkpoint_id && std::ranges::equal(one.tensors(), other.tensors()) &&
           std::ranges::equal(one.shapes(), other.shapes()) && std::ranges::equal(one.counts(), other.counts());
}

}  // namespace

TEST(spoiled_lookups_end_in_the_right_answer_or_a_refusal) {
    OneShard shard;
    const auto snapshot = shard.table->pin();
    const std::size_t mutants = fuzz_mutants(60'000);
    Requests requests;
    std::size_t answered = 0, invalid = 0, too_large = 0, other_shard = 0;
    for (std::size_t i = 0; i < mutants; ++i) {
        const Bytes message = requests.next();
        const auto call = call_with(*shard.method, message);
        CHECK(call->ended && call->sent.has_value() == call->status.ok());
        CHECK(shard.method->work_of(received(message)) >= message.size());
        switch (call->status.code) {
            case Code::ok: {
                ++answered;
                const Shifted shifted(message, i % 8);
                wire::LookupRequest request(shifted.bytes());
                CHECK(is_answer(joined(*call->sent), *snapshot, request.view()));
                break;
            }
            case Code::invalid_argument:
                ++invalid;
                break;
            case Code::resource_exhausted:
                ++too_large;
                break;
            default:
                CHECK(call->status.code == Code::unavailable);
                ++other_shard;
        }
    }
    std::printf("%zu answered; %zu invalid, %zu too large, %zu of another shard\n", answered, invalid, too_large, other_shard);
    CHECK(answered > mutants / 10 && invalid > mutants / 10 && too_large > mutants / 1'000 && other_shard > mutants / 1'000);
}

TEST(spoiled_answers_are_read_or_refused) {
    OneShard shard;
    std::vector<Bytes> seeds;
    for (const Wire& columns : valid_requests())
        seeds.push_back(joined(*call_with(*shard.method, aligned_message(columns))->sent));
    MessageMutator mutator(20'270'102);
    const std::size_t mutants = fuzz_mutants(60'000);
    std::size_t accepted = 0, refused = 0;
    for (std::size_t i = 0; i < mutants; ++i) {
        const Bytes message = mutator.spoiled(seeds[i % seeds.size()]);
        const Shifted shifted(message, i % 8);
        try {
            wire::LookupResponse response(shifted.bytes());
            CHECK(response.numbers().size_bytes() <= response.size_bytes() && response.size_bytes() <= message.size());
            CHECK(response.misses().size() <= message.size());
            // What was read, written anew, is read as the same.
            const Bytes again =
                joined(wire::encode_lookup_response(response.facts(), {}, std::as_bytes(response.numbers()), nullptr));
            wire::LookupResponse reread(again);
            CHECK(std::ranges::equal(std::as_bytes(reread.numbers()), std::as_bytes(response.numbers())));
            CHECK(reread.facts().version == response.facts().version);
            ++accepted;
        } catch (const DecodeError& error) {
            CHECK(error.byte <= message.size());
            ++refused;
        }
    }
    std::printf("%zu read, %zu refused\n", accepted, refused);
    CHECK(accepted > mutants / 10 && refused > mutants / 10);
}

TEST(spoiled_forwards_are_read_or_refused) {
    const std::vector<std::uint32_t> shapes = {2, 0, 4, 2, 3, 5}, counts = {1, 2, 3, 4, 5, 6, 7, 8};
    const std::vector<std::uint16_t> tensors(2 * 4 + 2 * 3 * 5, 0x3c00);
    const Bytes answer = joined(wire::encode_forward_response({{1, 300}, {5, 0}, {1}, 7, 8}, counts, tensors, shapes, nullptr));
    const Bytes ids = bytes_of(std::vector<std::uint64_t>{1, 2, 3});
    const Bytes request = joined(wire::encode_forward_request({.ids = ids, .timeout_ms = 300}, nullptr));
    MessageMutator mutator(20'270'103);
    const std::size_t mutants = fuzz_mutants(60'000);
    std::size_t fitting = 0, read = 0, refused = 0;
    for (std::size_t i = 0; i < mutants; ++i) {
        const Bytes message = mutator.spoiled(i % 4 == 0 ? request : answer);
        const Shifted shifted(message, i % 8);
        try {
            if (i % 4 == 0) {
                const wire::ForwardRequest found = wire::decode_forward_request(shifted.bytes());
                const Bytes again = joined(wire::encode_forward_request(found, nullptr));
                const wire::ForwardRequest reread = wire::decode_forward_request(again);
                CHECK(std::ranges::equal(reread.ids, found.ids) && std::ranges::equal(reread.batch, found.batch));
                CHECK(reread.timeout_ms == found.timeout_ms);
            } else {
                wire::ForwardResponse found(shifted.bytes());
                if (const std::string problem = found.problem(); problem.empty()) {
                    std::size_t numbers = 0;
                    const auto rows = found.shapes();
                    for (std::size_t k = 0; k < rows.size(); k += 3) {
                        numbers += std::size_t{rows[k]} * std::max(rows[k + 1], 1U) * rows[k + 2];
                    }
                    CHECK(numbers == found.tensors().size());
                    ++fitting;
                    const Bytes again = joined(
                        wire::encode_forward_response(found.facts(), found.counts(), found.tensors(), found.shapes(), nullptr));
                    wire::ForwardResponse reread(again);
                    CHECK(equal(found, reread));
                }
            }
            ++read;
        } catch (const DecodeError& error) {
            CHECK(error.byte <= message.size());
            ++refused;
        }
    }
    std::printf("%zu read, %zu of them fit; %zu refused\n", read, fitting, refused);
    CHECK(read > mutants / 10 && fitting > mutants / 10 && refused > mutants / 10);
}
