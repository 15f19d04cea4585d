#include "table/shard_request.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "table/row_use.hpp"

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

// Writes the parts of an answer, one after the other, as their rows come.
class Answer final : public RowUser {
  public:
    Answer(RowStorage storage, const RequestView& request, float* out)
        : storage_(storage), parts_(request.parts), counts_(request.sum_counts.data()), samples_(request.sum_samples.data()),
          out_(out) {
        begin();
    }

    void use(std::size_t run, std::size_t first, FoundRows rows) override {
        skip_to(run);
        const RequestPart& part = parts_[run];
        const std::size_t at = first * part.dim;
        switch (part.kind) {
            case AnswerKind::rows:
                return copy_rows(storage_, part.dim, rows, out_ + at);
            case AnswerKind::halves:
                return copy_halves(storage_, part.dim, rows, reinterpret_cast<std::uint16_t*>(out_) + at, scratch_);
            case AnswerKind::sums:
                samples_ = add_rows(storage_, part.dim, rows, counts_, samples_, out_);
                counts_ += rows.size();
                return;
            case AnswerKind::marked:
                copy_rows(storage_, part.dim, rows, out_ + at);
                mark(rows, out_ + std::size_t{part.signs} * part.dim + first);
        }
    }

    // Parts without a sign are never used, but they have an answer too.
    void skip_to(std::size_t part) {
        while (part_ < part) {
            out_ += parts_[part_].answer_size();
            ++part_;
            begin();
        }
    }

  private:
    static void mark(FoundRows rows, float* out) {
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const std::uint32_t is_there = rows[i] != nullptr ? 1 : 0;
            std::memcpy(out + i, &is_there, sizeof(is_there));
        }
    }

    // Writes what no row does.
    void begin() {
        if (part_ == parts_.size()) return;
        const RequestPart& part = parts_[part_];
        if (part.kind == AnswerKind::sums) {
            std::fill_n(out_, part.answer_size(), 0.0F);
        } else if (const std::size_t numbers = std::size_t{part.signs} * part.dim;
                   part.kind == AnswerKind::halves && numbers % 2 != 0) {
            reinterpret_cast<std::uint16_t*>(out_)[numbers] = 0;
        }
    }

    const RowStorage storage_;
    const std::span<const RequestPart> parts_;
    const std::uint32_t* counts_;
    const std::uint16_t* samples_;
    float* out_;  // where the part begins
    std::size_t part_ = 0;
    std::vector<float> scratch_;
};

}  // namespace

std::size_t RequestView::answer_size() const {
    std::size_t total = 0;
    for (const RequestPart& part : parts) total += part.answer_size();
    return total;
}

void check_request(const RequestView& request, std::size_t max_numbers) {
    std::uint64_t signs = 0, sum_signs = 0, positions = 0, numbers = 0;
    for (const RequestPart& part : request.parts) {
        if (part.kind > AnswerKind::marked) {
            throw InvalidInput("expected an answer kind of 0 to 3, got " +
                               std::to_string(static_cast<std::uint32_t>(part.kind)));
        }
        if (part.dim == 0 || part.dim > kMaxDim) {
            throw InvalidInput("expected a dim of 1 to 65535, got " + std::to_string(part.dim));
        }
        if (part.answer_size() > max_numbers - numbers) {
            throw TooLarge("expected an answer of at most " + std::to_string(max_numbers) +
                           " numbers, got a request for at least " + std::to_string(numbers + part.answer_size()));
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

Misses answer(const Snapshot& snapshot, const RequestView& request, float* out, std::vector<RunMisses>& misses,
              std::uint64_t variant) {
    std::vector<Run> runs;
    runs.reserve(request.parts.size());
    for (const RequestPart& part : request.parts) runs.push_back({part.signs, part.dim});
    Answer answer(snapshot.storage(), request, out);
    const Misses all = snapshot.visit(request.signs, runs, answer, misses, variant);
    answer.skip_to(request.parts.size());
    return all;
}

}  // namespace persia
