// What a shard is asked in one go, and how it answers: in columns, so that the bytes on the wire are the arrays in memory.
//
// Thread safety: plain values; answer() may run in any number of threads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "table/snapshot.hpp"

namespace persia {

// What a shard sends back for a feature.
enum class AnswerKind : std::uint32_t {
    rows = 0,    // the row of each sign
    sums = 1,    // for each sample the sum of its signs' rows
    halves = 2,  // the row of each sign in f16, as the sum of this row alone would be: so -0.0 is 0.0
    marked = 3,  // the row of each sign, and after all of these a u32 of each sign: 1 if there is such a row, 0 if not
};

// One feature's share of a request. On the wire as it is: six u32.
struct RequestPart {
    std::uint32_t feature = 0;  // feature_id() of its name, under which the shard counts
    AnswerKind kind = AnswerKind::rows;
    std::uint32_t dim = 0;
    std::uint32_t samples = 0;    // the batch size: rows of a sums answer
    std::uint32_t signs = 0;      // how many of the request's signs are this part's
    std::uint32_t positions = 0;  // where they stand: how many of sum_samples, or of the rows kept by the asker

    // Numbers of four bytes in the answer: f32, u32 marks, or two halves each, the last of which may be a zero that means
    // nothing.
    std::size_t answer_size() const {
        const std::size_t numbers = std::size_t{kind == AnswerKind::sums ? samples : signs} * dim;
        if (kind == AnswerKind::marked) return numbers + signs;
        return kind == AnswerKind::halves ? numbers / 2 + numbers % 2 : numbers;
    }
};
static_assert(sizeof(RequestPart) == 24, "parts are sent as they are");

// The columns of a request: parts one after the other in each.
struct RequestView {
    std::span<const RequestPart> parts;
    std::span<const std::uint64_t> signs;
    std::span<const std::uint32_t> sum_counts;   // for the signs of sums parts: how many positions each has
    std::span<const std::uint16_t> sum_samples;  // the sample of each position

    std::size_t answer_size() const;  // numbers of four bytes
};

// Throws InvalidInput unless the columns fit each other, and TooLarge if the answer had more than max_numbers.
void check_request(const RequestView& request, std::size_t max_numbers);

// Writes the answer to `out`, which has room for request.answer_size() numbers. misses: of each part; empty if there are none
// at all. variant: whose rows go first; 0: of none. REQUIRES: check_request has passed, and the snapshot has the variant.
Misses answer(const Snapshot& snapshot, const RequestView& request, float* out, std::vector<RunMisses>& misses,
              std::uint64_t variant = 0);

}  // namespace persia
