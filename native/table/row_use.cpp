#include "table/row_use.hpp"

#include <algorithm>
#include <cstring>

#include "base/half.hpp"

namespace persia {

namespace {

// The compiler unrolls the loops below before it would make vectors of them, so they are spelt out. Sums lie at any multiple of
// four bytes: what is loaded and stored goes through memcpy, which assumes no more.
using Four [[gnu::vector_size(16)]] = float;

Four load_four(const void* from) {
    Four four;
    std::memcpy(&four, from, sizeof(four));
    return four;
}

// sum += row for a dim known at compile time.
template <std::uint32_t kDim>
struct AddF32 {
    void operator()(const std::byte* row, float* sum) const {
        for (std::uint32_t i = 0; i < kDim; i += 4) {
            const Four four = load_four(sum + i) + load_four(row + i * sizeof(float));
            std::memcpy(sum + i, &four, sizeof(four));
        }
    }
};

template <std::uint32_t kDim>
struct CopyF32 {
    void operator()(const std::byte* row, float* out) const { std::memcpy(out, row, kDim * sizeof(float)); }
};

// out = 0 + row
template <std::uint32_t kDim>
struct SumOfOneF32 {
    void operator()(const std::byte* row, float* out) const {
        for (std::uint32_t i = 0; i < kDim; i += 4) {
            const Four four = load_four(row + i * sizeof(float)) + Four{};
            std::memcpy(out + i, &four, sizeof(four));
        }
    }
};

// with(operation<dim>) for the common dims of f32 rows, else with(other).
template <template <std::uint32_t> class Operation, class Other, class With>
auto for_dim(RowStorage storage, std::uint32_t dim, Other other, With with) {
    if (storage != RowStorage::f32) return with(other);
    switch (dim) {
        case 4:
            return with(Operation<4>{});
        case 8:
            return with(Operation<8>{});
        case 16:
            return with(Operation<16>{});
        case 32:
            return with(Operation<32>{});
        case 64:
            return with(Operation<64>{});
        default:
            return with(other);
    }
}

// copy(row, out) for each row, zeros where there is none.
template <class Copy>
void copy_each(FoundRows rows, std::uint32_t dim, float* out, Copy copy) {
    for (const std::byte* row : rows) {
        if (row == nullptr) {
            std::fill_n(out, dim, 0.0F);
        } else {
            copy(row, out);
        }
        out += dim;
    }
}

}  // namespace

void copy_rows(RowStorage storage, std::uint32_t dim, FoundRows rows, float* out) {
    const auto any = [=](const std::byte* row, float* target) { load_row(storage, row, dim, target); };
    for_dim<CopyF32>(storage, dim, any, [=](auto copy) { copy_each(rows, dim, out, copy); });
}

void copy_halves(RowStorage storage, std::uint32_t dim, FoundRows rows, std::uint16_t* out, std::vector<float>& scratch) {
    const std::size_t numbers = rows.size() * dim;
    if (scratch.size() < numbers) scratch.resize(numbers);
    const auto any = [=](const std::byte* row, float* sum) {
        std::fill_n(sum, dim, 0.0F);
        add_row(storage, row, dim, sum);
    };
    for_dim<SumOfOneF32>(storage, dim, any, [&](auto copy) { copy_each(rows, dim, scratch.data(), copy); });
    to_half(scratch.data(), out, numbers);  // to convert one row at a time takes longer
}

const std::uint16_t* add_rows(RowStorage storage, std::uint32_t dim, FoundRows rows, const std::uint32_t* counts,
                              const std::uint16_t* samples, float* sums) {
    const auto any = [=](const std::byte* row, float* sum) { add_row(storage, row, dim, sum); };
    return for_dim<AddF32>(storage, dim, any, [=](auto add) {
        const std::uint16_t* sample = samples;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const std::uint16_t* end = sample + counts[i];
            if (rows[i] == nullptr) sample = end;
            for (; sample != end; ++sample) add(rows[i], sums + std::size_t{*sample} * dim);
        }
        return sample;
    });
}

}  // namespace persia
