#include "plan/part_answers.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/error.hpp"

namespace persia {

namespace {

bool is_there(const PartAnswer& answer, std::size_t sign) {
    std::uint32_t mark;
    std::memcpy(&mark, answer.values + std::size_t{answer.part->signs} * answer.part->dim + sign, sizeof(mark));
    return mark != 0;
}

// Zeros where the default row is not there itself, or its shard is missing.
std::vector<float> default_row(const Slot& slot, std::size_t default_part, std::span<const PartAnswer> answers) {
    std::vector<float> row(slot.dim, slot.default_value.value_or(0.0F));
    if (default_part < answers.size() && answers[default_part].values != nullptr) {
        const PartAnswer& answer = answers[default_part];
        std::copy_n(answer.values + (answer.part->signs - std::size_t{1}) * slot.dim, slot.dim, row.begin());
    }
    return row;
}

}  // namespace

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

void put_default_rows(const Slot& slot, std::size_t default_part, std::span<PartAnswer> answers, std::vector<float>& rows) {
    const std::vector<float> row = default_row(slot, default_part, answers);
    std::size_t numbers = 0;
    for (const PartAnswer& answer : answers) numbers += std::size_t{answer.part->signs} * slot.dim;
    rows.resize(numbers);
    float* to = rows.data();
    for (PartAnswer& answer : answers) {
        if (answer.values == nullptr) continue;
        float* const begin = to;
        for (std::size_t i = 0; i < answer.part->signs; ++i, to += slot.dim) {
            std::copy_n(is_there(answer, i) ? answer.values + i * slot.dim : row.data(), slot.dim, to);
        }
        answer.values = begin;
    }
}

}  // namespace persia
