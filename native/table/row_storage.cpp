#include "table/row_storage.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/half.hpp"

namespace persia {

static_assert(std::endian::native == std::endian::little, "rows are copied from files as they are");

namespace {

constexpr float kInt8Steps = 127.0F, kUint8Steps = 255.0F, kUint4Steps = 15.0F;
constexpr float kLargestOfWide = 0x1p126F;  // of numbers whose range f32 does not hold
constexpr std::uint32_t kPiece = 64;        // numbers that are converted at a time, on the stack

float value_at(const std::byte* values, std::uint32_t i) {
    float value;
    std::memcpy(&value, values + std::size_t{i} * sizeof(float), sizeof(float));
    return value;
}

void store_half(const std::byte* values, std::uint32_t dim, std::byte* row) {
    float piece[kPiece];
    std::uint16_t half[kPiece];
    for (std::uint32_t begin = 0; begin < dim; begin += kPiece) {
        const std::size_t n = std::min(kPiece, dim - begin);
        std::memcpy(piece, values + std::size_t{begin} * sizeof(float), n * sizeof(float));
        to_half(piece, half, n);
        std::memcpy(row + std::size_t{begin} * sizeof(half[0]), half, n * sizeof(half[0]));
    }
}

void store_int8(const std::byte* values, std::uint32_t dim, std::byte* row) {
    float largest = 0;
    for (std::uint32_t i = 0; i < dim; ++i) {
        const float magnitude = std::fabs(value_at(values, i));
        if (std::isfinite(magnitude)) largest = std::max(largest, magnitude);
    }
    float scale = largest / kInt8Steps;
    if (!std::isfinite(scale * kInt8Steps)) scale = std::nextafter(scale, 0.0F);
    std::memcpy(row, &scale, sizeof(scale));
    auto* steps = reinterpret_cast<std::int8_t*>(row + sizeof(scale));
    for (std::uint32_t i = 0; i < dim; ++i) {
        const float value = value_at(values, i);
        const float step = scale > 0 ? std::clamp(std::nearbyint(value / scale), -kInt8Steps, kInt8Steps) : 0.0F;
        steps[i] = std::isnan(step) ? std::int8_t{0} : static_cast<std::int8_t>(step);
    }
}

// A row in uint8: each number is scale * code + bias.
struct Affine {
    float scale, bias;

    float at(std::uint8_t code) const { return scale * static_cast<float>(code) + bias; }
    std::uint8_t code_of(float value) const {
        if (std::isnan(value)) value = 0;
        const float code = scale > 0 ? std::nearbyint((value - bias) / scale) : 0.0F;
        return static_cast<std::uint8_t>(std::clamp(code, 0.0F, kUint8Steps));
    }
};

bool is_exact(const std::byte* values, std::uint32_t dim, Affine affine) {
    for (std::uint32_t i = 0; i < dim; ++i) {
        const float value = value_at(values, i);
        if (affine.at(affine.code_of(value)) != value) return false;
    }
    return true;
}

// FBGEMM keeps scales in f16, so that one is found again from numbers that were made with it, in spite of their rounding.
// steps: how many a row of its 8 or 4 bits has.
bool find_exact(const std::byte* values, std::uint32_t dim, float range, float steps, Affine& affine) {
    const float guess = range / steps;
    std::uint16_t nearest;
    to_half(&guess, &nearest, 1);
    for (const int by : {0, 1, -1}) {
        const auto half = static_cast<std::uint16_t>(nearest + by);
        from_half(&half, &affine.scale, 1);
        if (affine.scale > 0 && std::isfinite(affine.scale) && is_exact(values, dim, affine)) return true;
    }
    return false;
}

// With 4 bits, FBGEMM rounds the bias to f16 before it chooses codes. Where numbers differ by little from each other, it may so
// come to lie some steps below the smallest one. No other row has so small a range.
constexpr float kMinPerRange = 60.0F;

bool find_exact_above_bias(const std::byte* values, std::uint32_t dim, float smallest, float range, Affine& affine) {
    for (float lowest = 1; lowest < kUint4Steps; ++lowest) {
        for (float steps = kUint4Steps - lowest; steps >= 1; --steps) {
            const float guess = smallest - lowest * range / steps;
            std::uint16_t half;
            to_half(&guess, &half, 1);
            from_half(&half, &affine.bias, 1);
            // Rounded numbers move the guess by less than that, and few others are so near to one of f16.
            if (std::fabs(guess - affine.bias) > std::fabs(guess) * 0x1p-18F) continue;
            if (find_exact(values, dim, range, steps, affine)) return true;
        }
    }
    affine.bias = smallest;
    return false;
}

Affine affine_of(const std::byte* values, std::uint32_t dim) {
    float smallest = std::numeric_limits<float>::infinity(), largest = -smallest;
    for (std::uint32_t i = 0; i < dim; ++i) {
        const float value = value_at(values, i);
        if (!std::isfinite(value)) continue;
        smallest = std::min(smallest, value);
        largest = std::max(largest, value);
    }
    if (!(smallest < largest)) return {0.0F, std::isfinite(smallest) ? smallest : 0.0F};
    float range = largest - smallest;
    if (!std::isfinite(range)) {
        smallest = std::max(smallest, -kLargestOfWide);
        largest = std::min(largest, kLargestOfWide);
        range = largest - smallest;
    }
    Affine affine{0, smallest};
    if (find_exact(values, dim, range, kUint8Steps, affine) || find_exact(values, dim, range, kUint4Steps, affine)) {
        return affine;
    }
    if (range * kMinPerRange < std::max(std::fabs(smallest), std::fabs(largest)) &&
        find_exact_above_bias(values, dim, smallest, range, affine)) {
        return affine;
    }
    affine.scale = static_cast<float>((double{largest} - double{smallest}) / double{kUint8Steps});
    return affine;
}

void store_uint8(const std::byte* values, std::uint32_t dim, std::byte* row) {
    const Affine affine = affine_of(values, dim);
    std::memcpy(row, &affine, sizeof(affine));
    for (std::uint32_t i = 0; i < dim; ++i) row[sizeof(affine) + i] = std::byte{affine.code_of(value_at(values, i))};
}

}  // namespace

RowStorage row_storage_named(std::string_view name) {
    if (name == "f32") return RowStorage::f32;
    if (name == "f16") return RowStorage::f16;
    if (name == "int8") return RowStorage::int8;
    if (name == "uint8") return RowStorage::uint8;
    throw InvalidInput("expected a row storage of f32, f16, int8 or uint8, got " + std::string(name));
}

std::size_t count_inexact(RowStorage storage, const std::byte* values, std::size_t rows, std::uint32_t dim) {
    std::vector<std::byte> row(row_bytes(storage, dim));
    std::vector<float> numbers(dim);
    std::size_t inexact = 0;
    for (std::size_t i = 0; i < rows; ++i) {
        const std::byte* own = values + i * dim * sizeof(float);
        store_row(storage, own, dim, row.data());
        load_row(storage, row.data(), dim, numbers.data());
        for (std::uint32_t j = 0; j < dim; ++j) {
            if (numbers[j] != value_at(own, j)) {
                ++inexact;
                break;
            }
        }
    }
    return inexact;
}

void store_row(RowStorage storage, const std::byte* values, std::uint32_t dim, std::byte* row) {
    switch (storage) {
        case RowStorage::f32:
            std::memcpy(row, values, std::size_t{dim} * sizeof(float));
            return;
        case RowStorage::f16:
            store_half(values, dim, row);
            return;
        case RowStorage::int8:
            store_int8(values, dim, row);
            return;
        case RowStorage::uint8:
            store_uint8(values, dim, row);
            return;
    }
}

void load_row(RowStorage storage, const std::byte* row, std::uint32_t dim, float* out) {
    if (storage == RowStorage::f32) {
        std::memcpy(out, row, std::size_t{dim} * sizeof(float));
        return;
    }
    std::fill_n(out, dim, 0.0F);
    add_row(storage, row, dim, out);
}

void add_row(RowStorage storage, const std::byte* row, std::uint32_t dim, float* sum) {
    switch (storage) {
        case RowStorage::f32: {
            const auto* values = reinterpret_cast<const float*>(row);
            for (std::uint32_t i = 0; i < dim; ++i) sum[i] += values[i];
            return;
        }
        case RowStorage::f16:
            add_half(reinterpret_cast<const std::uint16_t*>(row), sum, dim);
            return;
        case RowStorage::int8: {
            float scale;
            std::memcpy(&scale, row, sizeof(scale));
            const auto* steps = reinterpret_cast<const std::int8_t*>(row + sizeof(scale));
            for (std::uint32_t i = 0; i < dim; ++i) sum[i] += scale * static_cast<float>(steps[i]);
            return;
        }
        case RowStorage::uint8: {
            Affine affine;
            std::memcpy(&affine, row, sizeof(affine));
            const auto* codes = reinterpret_cast<const std::uint8_t*>(row + sizeof(affine));
            for (std::uint32_t i = 0; i < dim; ++i) sum[i] += affine.at(codes[i]);
            return;
        }
    }
}

}  // namespace persia
