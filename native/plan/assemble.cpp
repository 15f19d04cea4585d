#include "plan/assemble.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/half.hpp"
#include "plan/part_answers.hpp"

namespace persia {

namespace {

constexpr std::uint16_t kHalfOne = 0x3c00;

// Rows are short, and their length is not known to the compiler: a call for each would take longer than the copy.
void copy_row(const std::uint16_t* row, std::size_t dim, std::uint16_t* out) {
    constexpr std::size_t kAtOnce = 8;
    for (; dim >= kAtOnce; dim -= kAtOnce, row += kAtOnce, out += kAtOnce) std::memcpy(out, row, kAtOnce * sizeof(*row));
    for (; dim > 0; --dim) *out++ = *row++;
}

void add(const float* values, float* sum, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) sum[i] += values[i];
}

void add_weighted(const float* values, float factor, float* sum, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) sum[i] += factor * values[i];
}

// The scale of a sample's sum.
float scale_of(const Slot& slot, std::uint32_t ids) {
    const auto divisor = static_cast<float>(std::max(ids, 1U));
    return 1.0F / (slot.mean ? divisor : std::sqrt(divisor));
}

// Of a sample by sample, where the slot scales sums and does not weigh rows.
void scale(const PlannedFeature& feature, std::vector<float>& sums) {
    const std::size_t dim = feature.slot->dim;
    for (std::size_t sample = 0; sample < feature.ids_per_sample.size(); ++sample) {
        float* sum = sums.data() + sample * dim;
        if (feature.slot->f32 && feature.slot->mean) {  // as torch does it, to the last bit
            const auto ids = static_cast<float>(std::max(feature.ids_per_sample[sample], 1U));
            for (std::size_t i = 0; i < dim; ++i) sum[i] /= ids;
            continue;
        }
        const float scale = scale_of(*feature.slot, feature.ids_per_sample[sample]);
        for (std::size_t i = 0; i < dim; ++i) sum[i] *= scale;
    }
}

// Writes the tensor of a pooled feature.
void emit(const Slot& slot, const std::vector<float>& sums, std::uint16_t* out) {
    if (slot.f32) {
        std::memcpy(out, sums.data(), sums.size() * sizeof(float));
    } else {
        to_half(sums.data(), out, sums.size());
    }
}

void assemble_pooled(const PlannedFeature& feature, std::span<const PartAnswer> answers, std::vector<float>& sums,
                     std::uint16_t* out) {
    const std::size_t dim = feature.slot->dim;
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
    scale(feature, sums);
    emit(*feature.slot, sums, out);
}

// Each sample's rows are added in the order in which its ids were sent.
void assemble_in_order(const PlannedFeature& feature, std::span<const PartAnswer> answers, std::vector<float>& sums,
                       std::uint16_t* out) {
    const std::size_t dim = feature.slot->dim;
    std::vector<const float*> rows(feature.begins.back());  // of each id; null: of a missing shard
    for (const PartAnswer& answer : answers) {
        for_each_position<float>(answer, [&](const float* row, std::size_t position) {
            rows[feature.begins[answer.samples[position]] + answer.columns[position]] = row;
        });
    }
    sums.assign(feature.batch_size * dim, 0.0F);
    for (std::size_t sample = 0; sample < feature.batch_size; ++sample) {
        float* sum = sums.data() + sample * dim;
        for (std::size_t k = feature.begins[sample]; k < feature.begins[sample + 1]; ++k) {
            if (rows[k] == nullptr) continue;
            if (feature.slot->weighted) {
                add_weighted(rows[k], feature.factors.values[k], sum, dim);
            } else {
                add(rows[k], sum, dim);
            }
        }
    }
    scale(feature, sums);
    emit(*feature.slot, sums, out);
}

void assemble_weighted(const PlannedFeature& feature, std::span<const PartAnswer> answers, std::vector<float>& sums,
                       std::uint16_t* out) {
    const std::size_t dim = feature.slot->dim;
    const Factors& factors = feature.factors;
    sums.assign(feature.batch_size * dim, 0.0F);
    for (const PartAnswer& answer : answers) {
        if (answer.values == nullptr) continue;
        for_each_position<float>(answer, [&](const float* row, std::size_t position) {
            const std::uint16_t sample = answer.samples[position];
            const float factor = factors.values[factors.begins[sample] + answer.columns[position]];
            add_weighted(row, factor, sums.data() + sample * dim, dim);
        });
    }
    emit(*feature.slot, sums, out);
}

// Samples of one id at most: each has its row.
void assemble_single(const PlannedFeature& feature, std::span<const PartAnswer> answers, std::uint16_t* out) {
    const std::size_t dim = feature.slot->dim;
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
    const std::size_t dim = feature.slot->dim;
    const std::size_t columns = feature.slot->sample_fixed_size;
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

// One place of a raw tensor: a row, and 1 in the last column if an id is there.
void emit_place(const Slot& slot, const float* row, bool is_there, std::size_t place, std::uint16_t* out) {
    const std::size_t dim = slot.dim;
    if (slot.f32) {
        const float mask = is_there ? 1.0F : 0.0F;
        std::uint16_t* to = out + 2 * place * (dim + 1);
        std::memcpy(to, row, dim * sizeof(float));
        std::memcpy(to + 2 * dim, &mask, sizeof(mask));
    } else {
        to_half(row, out + place * (dim + 1), dim);
        out[place * (dim + 1) + dim] = is_there ? kHalfOne : 0;
    }
}

// A raw feature whose rows come in f32. With a hash stack the row of an id is the sum of its rounds' rows.
void assemble_raw_sums(const PlannedFeature& feature, std::span<const PartAnswer> answers, std::vector<float>& sums,
                       std::uint16_t* out) {
    const Slot& slot = *feature.slot;
    const std::size_t dim = slot.dim;
    const std::size_t columns = slot.sample_fixed_size;
    const std::size_t places = feature.batch_size * columns;
    const float scale = slot.sqrt_scaling ? 1.0F / std::sqrt(static_cast<float>(slot.signs_per_id())) : 1.0F;
    sums.assign(places * dim, 0.0F);
    std::vector<bool> is_there(places);
    for (const PartAnswer& answer : answers) {
        for_each_position<float>(answer, [&](const float* row, std::size_t position) {
            if (answer.columns[position] >= columns) return;
            const std::size_t place = answer.samples[position] * columns + answer.columns[position];
            if (row != nullptr) add(row, sums.data() + place * dim, dim);
            is_there[place] = true;
        });
    }
    if (scale != 1.0F) {
        for (float& value : sums) value *= scale;
    }
    for (std::size_t place = 0; place < places; ++place)
        emit_place(slot, sums.data() + place * dim, is_there[place], place, out);
}

}  // namespace

void assemble(const Plan& plan, std::span<const std::span<const float>> answers, std::span<std::uint16_t* const> outs) {
    std::vector<ShardCursor> cursors = cursors_of(plan, answers);
    std::vector<PartAnswer> parts;  // of one feature
    std::vector<float> sums, rows;
    for (std::size_t i = 0; i < plan.features.size(); ++i) {
        const PlannedFeature& feature = plan.features[i];
        std::size_t default_part = answers.size();
        parts.clear();
        for (std::size_t shard = 0; shard < cursors.size(); ++shard) {
            if (!cursors[shard].at(i)) continue;
            if (shard == feature.default_shard) default_part = parts.size();
            parts.push_back(cursors[shard].take(feature.slot->has_columns()));
        }
        const bool halves = parts.empty() ? !feature.slot->f32 : parts.front().part->kind == AnswerKind::halves;
        if (feature.slot->has_default()) put_default_rows(*feature.slot, default_part, parts, rows);
        if (feature.slot->is_summed_in_order()) {
            assemble_in_order(feature, parts, sums, outs[i]);
        } else if (feature.slot->weighted) {
            assemble_weighted(feature, parts, sums, outs[i]);
        } else if (feature.slot->summation && halves) {
            assemble_single(feature, parts, outs[i]);
        } else if (feature.slot->summation) {
            assemble_pooled(feature, parts, sums, outs[i]);
        } else if (halves) {
            assemble_raw(feature, parts, outs[i]);
        } else {
            assemble_raw_sums(feature, parts, sums, outs[i]);
        }
    }
}

}  // namespace persia
