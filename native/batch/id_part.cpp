#include "batch/id_part.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "base/error.hpp"
#include "batch/read_features.hpp"
#include "batch/weights.hpp"

namespace persia {

namespace {

constexpr std::uint32_t kMagic = 0x31495350;          // "PSI1"
constexpr std::uint32_t kMagicWeighted = 0x32495350;  // "PSI2": after each feature a flag, and its weights

// The least that a feature can take: the length of its name, its three sizes and four widths.
constexpr std::size_t kFeatureMin = 4 + 2 + 4 + 4 + 4;

// A column of small numbers in the fewest bytes that hold the largest: 1, 2 or 4 each; or, where that is allowed, one value for
// all of them (width 0). It is allowed where another column bounds the number of items by the bytes that came.
enum class Constant : bool { refused, allowed };

template <class Get>
void write_narrow(Writer& out, std::size_t n, Constant constant, Get get) {
    std::uint32_t low = std::numeric_limits<std::uint32_t>::max(), high = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint32_t value = get(i);
        low = std::min(low, value);
        high = std::max(high, value);
    }
    if (constant == Constant::allowed && n != 0 && low == high) {
        out.write(std::uint8_t{0});
        out.write(high);
        return;
    }
    const auto write_as = [&]<class T>(T) {
        out.write(static_cast<std::uint8_t>(sizeof(T)));
        std::byte* to = out.extend(n * sizeof(T));
        for (std::size_t i = 0; i < n; ++i) store(to + i * sizeof(T), static_cast<T>(get(i)));
    };
    if (high <= 0xFF) {
        write_as(std::uint8_t{});
    } else if (high <= 0xFFFF) {
        write_as(std::uint16_t{});
    } else {
        write_as(std::uint32_t{});
    }
}

// set(i, value) for each item.
template <class Set>
void read_narrow(Reader& in, std::size_t n, Constant constant, const char* what, Set set) {
    const std::size_t at = in.position();
    const auto width = in.read<std::uint8_t>(what);
    const auto read_as = [&]<class T>(T) {
        // Checked before the product, which might overflow, is made.
        if (n > in.remaining() / sizeof(T)) in.fail(std::to_string(n) + " items of " + what, "fewer bytes than that");
        const auto bytes = in.take(n * sizeof(T), what);
        for (std::size_t i = 0; i < n; ++i) set(i, load<T>(bytes.data() + i * sizeof(T)));
    };
    if (width == 1) {
        read_as(std::uint8_t{});
    } else if (width == 2) {
        read_as(std::uint16_t{});
    } else if (width == 4) {
        read_as(std::uint32_t{});
    } else if (width == 0 && constant == Constant::allowed) {
        const auto value = in.read<std::uint32_t>(what);
        for (std::size_t i = 0; i < n; ++i) set(i, value);
    } else {
        throw DecodeError(
            std::string(constant == Constant::allowed ? "0, 1, 2 or 4" : "1, 2 or 4") + " bytes for each of " + what,
            std::to_string(width), at);
    }
}

void write_feature(const Batch& batch, const FeatureView& feature, Writer& out) {
    const std::uint32_t* offsets = batch.position_offsets.data() + feature.ids_begin;
    const std::size_t ids = feature.ids_end - feature.ids_begin;
    const std::size_t positions = offsets[ids] - offsets[0];
    const Position* position = batch.positions.data() + offsets[0];
    out.string(feature.name);
    out.write(feature.batch_size);
    out.length(ids);
    out.length(positions);
    out.bytes(std::as_bytes(std::span(batch.ids.data() + feature.ids_begin, ids)));
    write_narrow(out, ids, Constant::allowed, [&](std::size_t i) { return offsets[i + 1] - offsets[i]; });
    write_narrow(out, positions, Constant::refused, [&](std::size_t i) { return position[i].sample; });
    write_narrow(out, positions, Constant::allowed, [&](std::size_t i) { return position[i].column; });
    write_narrow(out, feature.batch_size, Constant::refused,
                 [&](std::size_t i) { return batch.ids_per_sample[feature.samples_begin + i]; });
}

void write_weights(const Batch& batch, const FeatureView& feature, Writer& out) {
    out.write(std::uint8_t{feature.weights.has_value()});
    if (!feature.weights) return;
    const std::vector<float> weights = weights_of(batch, feature);
    out.bytes(std::as_bytes(std::span(weights)));
}

FeatureView read_feature(Reader& in, Batch& batch) {
    FeatureView feature;
    feature.name = read_name(in, "feature name");
    feature.batch_size = in.read<std::uint16_t>("batch size");
    feature.ids_begin = batch.ids.size();
    feature.samples_begin = batch.ids_per_sample.size();

    const std::size_t sizes_at = in.position();
    const auto ids = in.read<std::uint32_t>("the number of ids");
    const auto positions = in.read<std::uint32_t>("the number of positions");
    if (ids > in.remaining() / sizeof(std::uint64_t) || positions > in.remaining()) {
        throw DecodeError("ids and positions that fit into the " + std::to_string(in.remaining()) + " bytes that are left",
                          std::to_string(ids) + " and " + std::to_string(positions), sizes_at);
    }
    const auto id_bytes = in.take(ids * sizeof(std::uint64_t), "ids");
    feature.ids_end = feature.ids_begin + ids;
    batch.ids.resize(feature.ids_end);
    if (ids != 0) std::memcpy(batch.ids.data() + feature.ids_begin, id_bytes.data(), id_bytes.size());

    const std::size_t counts_at = in.position();
    const std::uint64_t first = batch.positions.size();
    std::uint64_t next = first, empty = 0;
    batch.position_offsets.resize(feature.ids_end + 1);
    read_narrow(in, ids, Constant::allowed, "positions of an id", [&](std::size_t i, std::uint32_t count) {
        next += count;
        empty += count == 0;
        batch.position_offsets[feature.ids_begin + i + 1] = static_cast<std::uint32_t>(next);
    });
    if (empty != 0 || next - first != positions) {
        throw DecodeError("at least 1 position for each id, and " + std::to_string(positions) + " for all of them",
                          std::to_string(next - first) + ", " + std::to_string(empty) + " ids without one", counts_at);
    }
    if (next > std::numeric_limits<std::uint32_t>::max()) throw TooLarge("expected at most 4294967295 positions in a batch");

    const std::size_t samples_at = in.position();
    batch.positions.resize(next);
    std::uint32_t highest = 0;
    read_narrow(in, positions, Constant::refused, "the sample of a position", [&](std::size_t i, std::uint32_t sample) {
        highest = std::max(highest, sample);
        batch.positions[first + i].sample = static_cast<std::uint16_t>(sample);
    });
    if (positions != 0 && highest >= feature.batch_size) {
        throw DecodeError("positions in samples below " + std::to_string(feature.batch_size) + ", the batch size",
                          "sample " + std::to_string(highest), samples_at);
    }
    const std::size_t columns_at = in.position();
    std::uint32_t furthest = 0;
    read_narrow(in, positions, Constant::allowed, "the column of a position", [&](std::size_t i, std::uint32_t column) {
        furthest = std::max(furthest, column);
        batch.positions[first + i].column = static_cast<std::uint16_t>(column);
    });
    if (furthest > 0xFFFF) throw DecodeError("columns up to 65535", std::to_string(furthest), columns_at);

    const std::size_t total_at = in.position();
    std::uint64_t total = 0;
    in.need(feature.batch_size, "ids per sample");  // at least: before there is memory for them
    batch.ids_per_sample.resize(feature.samples_begin + feature.batch_size);
    read_narrow(in, feature.batch_size, Constant::refused, "ids per sample",
                [&](std::size_t i, std::uint32_t count) { total += batch.ids_per_sample[feature.samples_begin + i] = count; });
    if (total != positions) {
        throw DecodeError("as many ids in the samples as there are positions (" + std::to_string(positions) + ")",
                          std::to_string(total), total_at);
    }
    return feature;
}

FeatureView read_weighted(Reader& in, Batch& batch) {
    const std::size_t first = batch.positions.size();
    FeatureView feature = read_feature(in, batch);
    if (in.flag("the presence of weights")) {
        const std::size_t positions = batch.positions.size() - first;
        if (positions > in.remaining() / sizeof(float))
            in.fail(std::to_string(positions) + " weights", "fewer bytes than that");
        TensorView tensor;
        tensor.data = in.take(positions * sizeof(float), "weights");
        feature.weights = batch.weights.size();
        batch.weights.push_back({std::move(tensor), false});
    }
    return feature;
}

}  // namespace

void encode_ids(const Batch& batch, Writer& out) {
    out.reserve(64 * (1 + batch.features.size()) + 9 * batch.ids.size() + 2 * batch.positions.size() +
                batch.ids_per_sample.size());
    // Where nothing has weights, a middleware of an older release can read it.
    const bool weighted = !batch.weights.empty();
    out.write(weighted ? kMagicWeighted : kMagic);
    out.length(batch.features.size());
    for (const FeatureView& feature : batch.features) {
        write_feature(batch, feature, out);
        if (weighted) write_weights(batch, feature, out);
    }
}

Batch decode_ids(std::span<const std::byte> bytes) {
    if (bytes.size() > std::numeric_limits<std::uint32_t>::max()) {
        throw TooLarge("expected ids of at most 4 GiB, got " + std::to_string(bytes.size()) + " bytes");
    }
    Reader in(bytes);
    const auto magic = in.read<std::uint32_t>("the beginning of an id part");
    const bool weighted = magic == kMagicWeighted;
    if (magic != kMagic && !weighted) {
        throw DecodeError("an id part, which begins with PSI1 or PSI2", "another beginning", 0);
    }
    Batch batch;
    batch.has_ids = true;
    batch.position_offsets.push_back(0);
    read_features(in, batch, kFeatureMin, weighted ? read_weighted : read_feature);
    in.expect_end("the ids");
    return batch;
}

}  // namespace persia
