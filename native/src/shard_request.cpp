#include "persia/shard_request.hpp"

#include <algorithm>
#include <string>

#include "persia/error.hpp"

namespace persia {

namespace {

void expect(const char* what, std::uint64_t expected, std::uint64_t got) {
    if (expected == got) return;
    throw InvalidInput("expected " + std::to_string(expected) + " " + what + ", got " + std::to_string(got));
}

void check_sums(const RequestPart& part, std::span<const std::uint32_t> counts, std::span<const std::uint16_t> samples) {
    std::uint64_t positions = 0;
    for (const std::uint32_t count : counts) positions += count;
    expect("positions in the counts of a part", part.positions, positions);
    const auto beyond =
        std::find_if(samples.begin(), samples.end(), [&](std::uint16_t sample) { return sample >= part.samples; });
    if (beyond != samples.end()) {
        throw InvalidInput("expected samples below " + std::to_string(part.samples) + ", got " + std::to_string(*beyond));
    }
}

}  // namespace

std::size_t RequestView::answer_size() const {
    std::size_t total = 0;
    for (const RequestPart& part : parts) total += part.answer_size();
    return total;
}

void check_request(const RequestView& request, std::size_t max_numbers) {
    std::uint64_t signs = 0, sum_signs = 0, positions = 0, numbers = 0;
    for (const RequestPart& part : request.parts) {
        if (part.kind > AnswerKind::halves) {
            throw InvalidInput("expected an answer kind of 0 to 2, got " +
                               std::to_string(static_cast<std::uint32_t>(part.kind)));
        }
        if (part.dim == 0 || part.dim > kMaxDim) {
            throw InvalidInput("expected a dim of 1 to 65535, got " + std::to_string(part.dim));
        }
        if (part.answer_size() > max_numbers - numbers) {
            throw TooLarge("expected an answer of at most " + std::to_string(max_numbers) + " numbers, got a request for more");
        }
        numbers += part.answer_size();
        signs += part.signs;
        if (part.kind == AnswerKind::sums) {
            sum_signs += part.signs;
            positions += part.positions;
        }
    }
    expect("signs", signs, request.signs.size());
    expect("counts", sum_signs, request.sum_counts.size());
    expect("samples", positions, request.sum_samples.size());
    std::size_t count = 0, position = 0;
    for (const RequestPart& part : request.parts) {
        if (part.kind != AnswerKind::sums) continue;
        check_sums(part, request.sum_counts.subspan(count, part.signs), request.sum_samples.subspan(position, part.positions));
        count += part.signs;
        position += part.positions;
    }
}

Misses answer(const Snapshot& snapshot, const RequestView& request, float* out) {
    Misses total;
    std::size_t sign = 0, count = 0, position = 0;
    for (const RequestPart& part : request.parts) {
        const auto signs = request.signs.subspan(sign, part.signs);
        Misses misses;
        if (part.kind == AnswerKind::sums) {
            std::fill_n(out, part.answer_size(), 0.0F);
            misses = snapshot.sums(signs, request.sum_counts.subspan(count, part.signs),
                                   request.sum_samples.subspan(position, part.positions), part.dim, out);
            count += part.signs;
            position += part.positions;
        } else if (part.kind == AnswerKind::halves) {
            auto* halves = reinterpret_cast<std::uint16_t*>(out);
            misses = snapshot.halves(signs, part.dim, halves);
            if (const std::size_t numbers = std::size_t{part.signs} * part.dim; numbers % 2 != 0) halves[numbers] = 0;
        } else {
            misses = snapshot.rows(signs, part.dim, out);
        }
        total.absent += misses.absent;
        total.wrong_dim += misses.wrong_dim;
        sign += part.signs;
        out += part.answer_size();
    }
    return total;
}

}  // namespace persia
