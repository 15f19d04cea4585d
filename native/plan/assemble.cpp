#include "plan/assemble.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/half.hpp"

namespace persia {

namespace {

constexpr std::uint16_t kHalfOne = 0x3c00;

// A part of a shard's request together with its answer and, for rows and halves, the columns that say where these go.
struct PartAnswer {
    const RequestPart* part;
    const std::uint32_t* counts;
    const std::uint16_t* samples;
    const std::uint16_t* columns;  // of a raw or weighted feature only
    const float* values;           // null: the shard is missing
};

// Rows are short, and their length is not known to the compiler: a call for each would take longer than the copy.
void copy_row(const std::uint16_t* row, std::size_t dim, std::uint16_t* out) {
    constexpr std::size_t kAtOnce = 8;
    for (; dim >= kAtOnce; dim -= kAtOnce, row += kAtOnce, out += kAtOnce) std::memcpy(out, row, kAtOnce * sizeof(*row));
    for (; dim > 0; --dim) *out++ = *row++;
}

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

void add(const float* values, float* sum, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) sum[i] += values[i];
}

// The scale of a sample's sum.
float scale_of(const Slot& slot, std::uint32_t ids) {
    const auto divisor = static_cast<float>(std::max(ids, 1U));
    return 1.0F / (slot.mean ? divisor : std::sqrt(divisor));
}

void assemble_pooled(const PlannedFeature& feature, std::span<const PartAnswer> answers, std::vector<float>& sums,
                     std::uint16_t* out) {
    const std::size_t dim = feature.slot.dim;
    sums.assign(feature.batch_size * dim, 0.0F);
    for (const PartAnswer& answer : answers) {
        if (answer.values == nullptr) continue;
        if (answer.part->kind == AnswerKind::sums) {
            add(answer.values, sums.data(), sums.size());
            continue;
        }
        for_each_position<float>(answer, [&](const float* row, std::size_t position) {
            add(row, sums.data() + answer.samples[position] * dim, dim);
        });
    }
    for (std::size_t sample = 0; sample < feature.ids_per_sample.size(); ++sample) {
        const float scale = scale_of(feature.slot, feature.ids_per_sample[sample]);
        for (std::size_t i = 0; i < dim; ++i) sums[sample * dim + i] *= scale;
    }
    to_half(sums.data(), out, sums.size());
}

void assemble_weighted(const PlannedFeature& feature, std::span<const PartAnswer> answers, std::vector<float>& sums,
                       std::uint16_t* out) {
    const std::size_t dim = feature.slot.dim;
    const Factors& factors = feature.factors;
    sums.assign(feature.batch_size * dim, 0.0F);
    for (const PartAnswer& answer : answers) {
        if (answer.values == nullptr) continue;
        for_each_position<float>(answer, [&](const float* row, std::size_t position) {
            const std::uint16_t sample = answer.samples[position];
            const float factor = factors.values[factors.begins[sample] + answer.columns[position]];
            float* sum = sums.data() + sample * dim;
            for (std::size_t i = 0; i < dim; ++i) sum[i] += factor * row[i];
        });
    }
    to_half(sums.data(), out, sums.size());
}

// Samples of one id at most: each has its row.
void assemble_single(const PlannedFeature& feature, std::span<const PartAnswer> answers, std::uint16_t* out) {
    const std::size_t dim = feature.slot.dim;
    std::size_t rows = 0;
    for (const PartAnswer& answer : answers) rows += answer.values == nullptr ? 0 : answer.part->positions;
    if (rows != feature.batch_size) std::fill_n(out, feature.batch_size * dim, std::uint16_t{0});
    for (const PartAnswer& answer : answers) {
        if (answer.values == nullptr) continue;
        for_each_position<std::uint16_t>(answer, [&](const std::uint16_t* row, std::size_t position) {
            copy_row(row, dim, out + answer.samples[position] * dim);
        });
    }
}

// A raw feature with one sign per id: its rows go straight to their places.
void assemble_raw(const PlannedFeature& feature, std::span<const PartAnswer> answers, std::uint16_t* out) {
    const std::size_t dim = feature.slot.dim;
    const std::size_t columns = feature.slot.sample_fixed_size;
    std::fill_n(out, feature.batch_size * columns * (dim + 1), std::uint16_t{0});
    for (const PartAnswer& answer : answers) {
        for_each_position<std::uint16_t>(answer, [&](const std::uint16_t* row, std::size_t position) {
            if (answer.columns[position] >= columns) return;
            std::uint16_t* place = out + (answer.samples[position] * columns + answer.columns[position]) * (dim + 1);
            if (row != nullptr) copy_row(row, dim, place);
            place[dim] = kHalfOne;
        });
    }
}

// A raw feature with a hash stack: the row of an id is the sum of its rounds' rows.
void assemble_raw_stacked(const PlannedFeature& feature, std::span<const PartAnswer> answers, std::vector<float>& sums,
                          std::uint16_t* out) {
    const Slot& slot = feature.slot;
    const std::size_t dim = slot.dim;
    const std::size_t columns = slot.sample_fixed_size;
    const std::size_t places = feature.batch_size * columns;
    const float scale = slot.sqrt_scaling ? 1.0F / std::sqrt(static_cast<float>(slot.signs_per_id())) : 1.0F;
    sums.assign(places * dim, 0.0F);
    std::fill_n(out, places * (dim + 1), std::uint16_t{0});
    for (const PartAnswer& answer : answers) {
        for_each_position<float>(answer, [&](const float* row, std::size_t position) {
            if (answer.columns[position] >= columns) return;
            const std::size_t place = answer.samples[position] * columns + answer.columns[position];
            if (row != nullptr) add(row, sums.data() + place * dim, dim);
            out[place * (dim + 1) + dim] = kHalfOne;
        });
    }
    if (scale != 1.0F) {
        for (float& value : sums) value *= scale;
    }
    for (std::size_t place = 0; place < places; ++place) to_half(sums.data() + place * dim, out + place * (dim + 1), dim);
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

std::vector<ShardCursor> cursors_of(const Plan& plan, std::span<const std::span<const float>> answers) {
    if (answers.size() != plan.shards.size()) {
        throw InvalidInput("expected the answers of " + std::to_string(plan.shards.size()) + " shards, got " +
                           std::to_string(answers.size()));
    }
    std::vector<ShardCursor> cursors;
    cursors.reserve(answers.size());
    for (std::size_t s = 0; s < answers.size(); ++s) {
        const std::size_t expected = plan.shards[s].view().answer_size();
        // A request for nothing has an empty answer too, and no parts to miss.
        if (!answers[s].empty() && answers[s].size() != expected) {
            throw InvalidInput("expected an answer of " + std::to_string(expected) + " numbers from shard " +
                               std::to_string(s) + ", got " + std::to_string(answers[s].size()));
        }
        cursors.push_back({&plan.shards[s], answers[s].empty() ? nullptr : answers[s].data()});
    }
    return cursors;
}

}  // namespace

void assemble(const Plan& plan, std::span<const std::span<const float>> answers, std::span<std::uint16_t* const> outs) {
    std::vector<ShardCursor> cursors = cursors_of(plan, answers);
    std::vector<PartAnswer> parts;  // of one feature
    std::vector<float> sums;
    for (std::size_t i = 0; i < plan.features.size(); ++i) {
        const PlannedFeature& feature = plan.features[i];
        parts.clear();
        for (ShardCursor& cursor : cursors) {
            if (cursor.at(i)) parts.push_back(cursor.take(feature.has_columns()));
        }
        const bool single = !parts.empty() && parts.front().part->kind == AnswerKind::halves;
        if (feature.slot.weighted) {
            assemble_weighted(feature, parts, sums, outs[i]);
        } else if (feature.slot.summation && single) {
            assemble_single(feature, parts, outs[i]);
        } else if (feature.slot.summation) {
            assemble_pooled(feature, parts, sums, outs[i]);
        } else if (feature.slot.signs_per_id() == 1) {
            assemble_raw(feature, parts, outs[i]);
        } else {
            assemble_raw_stacked(feature, parts, sums, outs[i]);
        }
    }
}

}  // namespace persia
