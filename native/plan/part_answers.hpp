// What shards have answered, feature by feature.
//
// Thread safety: plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "plan/plan.hpp"

namespace persia {

// A part of a shard's request together with its answer and, for rows and halves, the columns that say where these go.
struct PartAnswer {
    const RequestPart* part;
    const std::uint32_t* counts;
    const std::uint16_t* samples;
    const std::uint16_t* columns;  // of a raw or weighted feature only
    const float* values;           // null: the shard is missing
};

// f(row or null, position) for every position of a part that was answered with rows: of float, or of halves.
template <class Number, class F>
void for_each_position(const PartAnswer& answer, F f) {
    const auto* rows = reinterpret_cast<const Number*>(answer.values);
    std::size_t position = 0;
    for (std::size_t i = 0; i < answer.part->signs; ++i) {
        const Number* row = rows == nullptr ? nullptr : rows + i * answer.part->dim;
        for (std::uint32_t k = 0; k < answer.counts[i]; ++k) f(row, position++);
    }
}

// A shard's parts and their answers, which come in the order of the features.
struct ShardCursor {
    const PlannedRequest* request;
    const float* values;  // null: the shard is missing
    std::size_t part = 0, sign = 0, position = 0, column = 0;

    bool at(std::size_t feature) const { return part < request->parts.size() && request->features[part] == feature; }

    PartAnswer take(bool columns) {
        const RequestPart& taken = request->parts[part++];
        const PartAnswer answer{&taken, request->row_counts.data() + sign, request->row_samples.data() + position,
                                request->row_columns.data() + column, values};
        if (values != nullptr) values += taken.answer_size();
        if (taken.kind != AnswerKind::sums) {
            sign += taken.signs;
            position += taken.positions;
            column += columns ? taken.positions : 0;
        }
        return answer;
    }
};

// Throws InvalidInput unless the answers are those of all shards, each of the size that it was asked for.
std::vector<ShardCursor> cursors_of(const Plan& plan, std::span<const std::span<const float>> answers);

// The answers of one feature, of rows and marks, as answers of rows in which the default row stands for each that is not there.
// default_part: the place of the part that ends with the sign of the default row. rows: memory for them, which lives as long.
void put_default_rows(const Slot& slot, std::size_t default_part, std::span<PartAnswer> answers, std::vector<float>& rows);

}  // namespace persia
