// Requests to a shard as bytes, spoiled in many ways; and what a naive loop answers.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/half.hpp"
#include "batches.hpp"
#include "plan/plan.hpp"
#include "spoiling.hpp"
#include "tables.hpp"

namespace persia {

constexpr std::size_t kColumns = 4;

using Bytes = std::vector<std::byte>;

// The columns as they are on the wire: parts, signs, counts, samples.
struct Wire {
    Bytes columns[kColumns];
};

template <class T>
Bytes bytes_of(const std::vector<T>& items) {
    const auto bytes = std::as_bytes(std::span(items));
    return {bytes.begin(), bytes.end()};
}

// As the bindings do: whole items only.
template <class T>
std::vector<T> items_of(const Bytes& bytes) {
    if (bytes.size() % sizeof(T) != 0) throw InvalidInput("not in whole items");
    std::vector<T> items(bytes.size() / sizeof(T));
    if (!items.empty()) std::memcpy(items.data(), bytes.data(), bytes.size());
    return items;
}

inline std::vector<Wire> valid_requests() {
    const Slots slots({{.name = "sums", .dim = 4},
                       {.name = "raw", .dim = 5, .summation = false},
                       {.name = "rows", .dim = 5, .summation = false, .hash_stack_rounds = 2, .hash_stack_size = 40},
                       {.name = "stack", .dim = 8, .hash_stack_rounds = 2, .hash_stack_size = 20},
                       {.name = "single", .dim = 1},
                       {.name = "known", .dim = 4, .default_value = 0.5F}},
                      8);
    const std::vector<std::pair<std::string, Samples>> batches[] = {
        {{"sums", {range(0, 40), range(20, 50), {}}}, {"raw", {{1, 2, 3}, {}, {3, 200}}}, {"known", {range(0, 30), {4}, {}}}},
        {{"stack", {range(0, 30), range(5, 9)}}, {"single", {{1}, {2}}}, {"rows", {{1, 2, 3}, {4, 5}}}},
        {{"single", {range(0, 90)}}, {"sums", {{}}}, {"stack", {{7, 7, 7}}}},
    };
    std::vector<Wire> requests;
    for (const auto& features : batches) {
        const Bytes bytes = encoded(features);
        for (const std::uint32_t shards : {1U, 3U}) {
            for (const PlannedRequest& request : make_plan(decode_batch(bytes), slots, shards).shards) {
                if (request.parts.empty()) continue;
                requests.push_back({{bytes_of(request.parts), bytes_of(request.signs), bytes_of(request.sum_counts),
                                     bytes_of(request.sum_samples)}});
            }
        }
    }
    return requests;
}

class Mutator {
  public:
    Wire next() {
        Wire wire = seeds_[spoiler_.below(seeds_.size())];
        for (std::size_t n = spoiler_.below(4); n > 0; --n) {
            // Half of the time in the parts, which say what everything else is.
            const std::size_t column = spoiler_.below(2) == 0 ? 0 : spoiler_.below(kColumns);
            static constexpr std::size_t sizes[kColumns] = {4, 8, 4, 2};
            mutate(wire.columns[column], sizes[column], column == 0 ? 24 : sizes[column]);
        }
        return wire;
    }

  private:
    void mutate(Bytes& bytes, std::size_t field, std::size_t item) {
        if (bytes.empty()) {
            bytes.resize(item * spoiler_.below(3));
            return;
        }
        const std::size_t at = spoiler_.below(bytes.size());
        const std::size_t begin = at / item * item, end = std::min(bytes.size(), begin + item);
        const auto start = bytes.begin() + static_cast<std::ptrdiff_t>(begin);
        const auto stop = bytes.begin() + static_cast<std::ptrdiff_t>(end);
        switch (spoiler_.below(8)) {
            case 0:  // an item less
                bytes.erase(start, stop);
                break;
            case 1: {  // an item twice
                const Bytes copy(start, stop);
                bytes.insert(start, copy.begin(), copy.end());
                break;
            }
            case 2:
            case 3: {  // a number that is small, or at an end
                static constexpr std::uint64_t values[] = {0, 1, 2, 3, 4, 7, 65'535, 65'536, 0x7fffffff, 0xffffffff, ~0ULL};
                const std::uint64_t value = values[spoiler_.below(std::size(values))];
                const std::size_t place = at / field * field;
                std::memcpy(bytes.data() + place, &value, std::min(field, bytes.size() - place));
                break;
            }
            default:
                spoiler_.spoil(bytes, at);
        }
    }

    Spoiler spoiler_{20'240'501};
    std::vector<Wire> seeds_ = valid_requests();
};

// The rows that valid_requests() asks for, most of them; small whole numbers, so that sums are the same in any order.
inline std::unique_ptr<Table> table_for_requests() {
    TableBuilder builder({});
    for (std::uint64_t sign = 0; sign < 120; ++sign) {
        if (sign % 5 == 4) continue;
        static constexpr std::uint32_t dims[] = {4, 5, 8, 1};
        put_range(sign, sign + 1, dims[sign % 4], 1.0F, [&](const RowBlock& block) { builder.put(block); });
    }
    return std::make_unique<Table>(builder);
}

// One sign at a time, in the bytes of the answer: two halves are not always a number.
inline Bytes naive_answer(const Snapshot& snapshot, const RequestView& request, Misses& misses,
                          std::vector<RunMisses>& by_part) {
    Bytes out;
    const auto append = [&](const auto& numbers) {
        const auto bytes = std::as_bytes(std::span(numbers));
        out.insert(out.end(), bytes.begin(), bytes.end());
    };
    std::size_t sign = 0, count = 0, position = 0;
    by_part.clear();
    for (const RequestPart& part : request.parts) {
        RunMisses& of_part = by_part.emplace_back();
        std::vector<float> sums(part.kind == AnswerKind::sums ? std::size_t{part.samples} * part.dim : 0), row(part.dim);
        std::vector<std::uint32_t> marks;
        for (std::size_t i = 0; i < part.signs; ++i, ++sign) {
            const Misses one = snapshot.rows(request.signs.subspan(sign, 1), part.dim, row.data());
            misses.absent += one.absent;
            misses.wrong_dim += one.wrong_dim;
            of_part.absent += static_cast<std::uint32_t>(one.absent);
            of_part.wrong_dim += static_cast<std::uint32_t>(one.wrong_dim);
            if (part.kind == AnswerKind::rows || part.kind == AnswerKind::marked) append(row);
            if (part.kind == AnswerKind::marked) marks.push_back(one.absent + one.wrong_dim == 0);
            if (part.kind == AnswerKind::halves) {
                std::vector<std::uint16_t> halves(part.dim);
                for (float& number : row) number += 0.0F;
                to_half(row.data(), halves.data(), part.dim);
                append(halves);
            }
            if (part.kind != AnswerKind::sums) continue;
            for (std::uint32_t n = request.sum_counts[count++]; n > 0; --n, ++position) {
                for (std::size_t k = 0; k < part.dim; ++k) sums[request.sum_samples[position] * part.dim + k] += row[k];
            }
        }
        append(sums);
        append(marks);
        out.resize((out.size() + 3) / 4 * 4);  // an odd half
    }
    if (misses.absent + misses.wrong_dim == 0) by_part.clear();
    return out;
}

}  // namespace persia
