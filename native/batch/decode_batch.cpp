#include <algorithm>
#include <array>
#include <limits>
#include <string>

#include "base/bytes.hpp"
#include "batch/batch.hpp"
#include "batch/read_features.hpp"
#include "batch/weights.hpp"

namespace persia {

namespace {

// The least that each item can take on the wire: what a length is checked against.
constexpr std::size_t kTensorMin = 4 + 4 + 4 + 4 + 4 + 1 + 4 + 1;
constexpr std::size_t kFeatureMin = 4 + 4 + 4 + 4 + 2;
constexpr std::size_t kEntryMin = 8 + 4 + 4;  // a sign stands somewhere, or it would not be there
constexpr std::size_t kMapItem = 8 + 8;
constexpr std::size_t kMaxRank = 32;  // numpy's before 2.0

void read_zero(Reader& in, const char* what, const char* expected) {
    const auto tag = in.read<std::uint32_t>(what);
    if (tag != 0) throw DecodeError(expected, std::string(what) + " " + std::to_string(tag), in.position() - 4);
}

DType read_dtype(Reader& in) {
    const auto tag = in.read<std::uint32_t>("dtype");
    if (tag > static_cast<std::uint32_t>(DType::u64)) {
        throw DecodeError("a dtype tag from 0 to 11", std::to_string(tag), in.position() - 4);
    }
    return static_cast<DType>(tag);
}

std::string show(const std::vector<std::uint64_t>& shape) {
    std::string text = "(";
    for (const std::uint64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
    return text + ")";
}

// Throws unless shape and stride (in items) describe exactly `items` items in C order. Dimensions of size <= 1 are never
// stepped over, so their strides may be anything; so may all strides of a tensor without items.
void check_layout(const std::vector<std::uint64_t>& shape, const std::array<std::int64_t, kMaxRank>& stride, std::size_t items,
                  std::size_t at) {
    std::uint64_t product = 1, without_zeros = 1;
    for (const std::uint64_t size : shape) {
        product *= size;
        // numpy refuses shapes whose non-zero sizes overflow, even where another size is 0.
        if (size != 0 && __builtin_mul_overflow(without_zeros, size, &without_zeros)) without_zeros = 0;
        if (without_zeros == 0 || without_zeros > std::numeric_limits<std::int64_t>::max() / 8) {
            throw DecodeError("a shape that fits into memory", show(shape), at);
        }
    }
    if (product != items) {
        throw DecodeError("a shape of " + std::to_string(items) + " items, as there are", show(shape), at);
    }
    if (items == 0) return;
    std::uint64_t step = 1;
    for (std::size_t i = shape.size(); i-- > 0;) {
        if (shape[i] > 1 && stride[i] != static_cast<std::int64_t>(step)) {
            throw DecodeError("contiguous strides: " + std::to_string(step) + " in dimension " + std::to_string(i),
                              std::to_string(stride[i]), at);
        }
        step *= shape[i];
    }
}

TensorView read_tensor(Reader& in) {
    TensorView tensor;
    read_zero(in, "tensor storage", "a tensor in CPU memory (storage 0)");
    tensor.dtype = read_dtype(in);
    const std::size_t items = in.length(item_size(tensor.dtype), "items of tensor data");
    const std::size_t start = in.position();
    tensor.data = in.take(items * item_size(tensor.dtype), "tensor data");
    if (tensor.dtype == DType::boolean) {
        for (std::size_t i = 0; i < items; ++i) {
            const auto value = static_cast<unsigned>(tensor.data[i]);
            if (value > 1) throw DecodeError("0 or 1 for a bool", std::to_string(value), start + i);
        }
    }
    const std::size_t at = in.position();
    const std::size_t rank = in.length(8, "sizes in a shape");
    if (rank > kMaxRank) throw DecodeError("at most 32 dimensions", std::to_string(rank), at);
    tensor.shape.resize(rank);
    for (std::uint64_t& size : tensor.shape) size = in.read<std::uint64_t>("shape");
    const std::size_t stride_at = in.position();
    const std::size_t strides = in.length(8, "strides");
    if (strides != rank) {
        throw DecodeError(std::to_string(rank) + " strides, as the shape has sizes", std::to_string(strides), stride_at);
    }
    std::array<std::int64_t, kMaxRank> stride{};
    for (std::size_t i = 0; i < rank; ++i) stride[i] = in.read<std::int64_t>("stride");
    check_layout(tensor.shape, stride, items, at);
    if (in.flag("the presence of a tensor name")) tensor.name = read_name(in, "tensor name");
    read_zero(in, "tensor device", "a tensor on the CPU (device 0)");
    if (in.flag("the presence of a device id")) in.read<std::int32_t>("device id");
    return tensor;
}

std::vector<TensorView> read_tensors(Reader& in, const char* what) {
    std::vector<TensorView> tensors(in.length(kTensorMin, what));
    for (TensorView& tensor : tensors) tensor = read_tensor(in);
    return tensors;
}

// Appends the feature's ids and positions to the batch. Returns the highest sample that a position names.
std::uint16_t read_index(Reader& in, Batch& batch, std::size_t entries) {
    const std::size_t first_id = batch.ids.size();
    // One position for every id is by far the commonest, so that much is set up front, and entries with more make room.
    std::size_t next = batch.positions.size();
    batch.ids.resize(first_id + entries);
    batch.position_offsets.resize(first_id + entries + 1);
    batch.positions.resize(next + entries);
    std::uint16_t highest = 0;
    for (std::size_t i = 0; i < entries; ++i) {
        in.need(kEntryMin, "an id and its positions");
        const std::byte* entry = in.data();
        batch.ids[first_id + i] = load<std::uint64_t>(entry);
        if (load<std::uint32_t>(entry + 8) == 1) [[likely]] {
            in.take(kEntryMin, "an id and its position");
            const auto position = load<Position>(entry + 12);
            highest = std::max(highest, position.sample);
            batch.positions[next] = position;
            ++next;
        } else {
            in.take(8, "an id");
            const std::size_t count = in.length(sizeof(Position), "positions of an id");
            if (count == 0) {
                throw DecodeError("at least 1 position for each id", "0", in.position() - 4);
            }
            const auto bytes = in.take(count * sizeof(Position), "positions of an id");
            batch.positions.resize(batch.positions.size() + count - 1);
            std::memcpy(batch.positions.data() + next, bytes.data(), bytes.size());
            for (std::size_t k = next; k < next + count; ++k) highest = std::max(highest, batch.positions[k].sample);
            next += count;
        }
        batch.position_offsets[first_id + i + 1] = static_cast<std::uint32_t>(next);
    }
    return highest;
}

FeatureView read_feature(Reader& in, Batch& batch) {
    FeatureView feature;
    feature.name = read_name(in, "feature name");
    feature.ids_begin = batch.ids.size();
    feature.samples_begin = batch.ids_per_sample.size();
    const std::size_t first_position = batch.positions.size();

    const std::size_t entries = in.length(kEntryMin + kMapItem, "ids of a feature");
    const std::size_t index_at = in.position();
    const std::uint16_t highest = read_index(in, batch, entries);
    feature.ids_end = batch.ids.size();

    const std::size_t samples_at = in.position();
    const std::size_t samples = in.length(4, "counts of ids per sample");
    batch.ids_per_sample.resize(feature.samples_begin + samples);
    const auto counts = in.take(samples * 4, "ids per sample");
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < samples; ++i) {
        total += batch.ids_per_sample[feature.samples_begin + i] = load<std::uint32_t>(counts.data() + 4 * i);
    }
    if (total != batch.positions.size() - first_position) {
        throw DecodeError("as many ids in the samples as the ids have positions (" +
                              std::to_string(batch.positions.size() - first_position) + ")",
                          std::to_string(total), samples_at);
    }

    const std::size_t map_at = in.position();
    const std::size_t mapped = in.length(kMapItem, "ids in the map of a feature");
    if (mapped != entries) {
        throw DecodeError(std::to_string(entries) + " ids in the map, as in the index", std::to_string(mapped), map_at);
    }
    in.take(mapped * kMapItem, "the map of a feature");  // follows from the index: nothing to learn from it

    feature.batch_size = in.read<std::uint16_t>("batch size");
    if (samples != feature.batch_size) {
        throw DecodeError("counts of ids for " + std::to_string(feature.batch_size) + " samples, the batch size",
                          std::to_string(samples), samples_at);
    }
    if (entries != 0 && highest >= feature.batch_size) {
        throw DecodeError("positions in samples below " + std::to_string(feature.batch_size) + ", the batch size",
                          "sample " + std::to_string(highest), index_at);
    }
    return feature;
}

void read_ids(Reader& in, Batch& batch) {
    batch.has_ids = true;
    batch.requires_grad = in.flag("requires_grad");
    // More ids than this cannot come, and mostly not many fewer do.
    const std::size_t most = in.remaining() / (kEntryMin + kMapItem);
    batch.ids.reserve(most);
    batch.position_offsets.reserve(most + 1);
    batch.positions.reserve(most);
    read_features(in, batch, kFeatureMin, read_feature);
    for (const char* what : {"the time of entering the staging buffer", "the time of entering the forward buffer",
                             "the reference to a buffered batch"}) {
        const std::size_t at = in.position();
        if (in.flag(what)) throw DecodeError(std::string("no ") + what + ": only training batches have one", "one", at);
    }
}

}  // namespace

Batch decode_batch(std::span<const std::byte> bytes) {
    if (bytes.size() > std::numeric_limits<std::uint32_t>::max()) {
        throw TooLarge("expected a batch of at most 4 GiB, got " + std::to_string(bytes.size()) + " bytes");
    }
    Reader in(bytes);
    Batch batch;
    batch.position_offsets.push_back(0);
    batch.dense = read_tensors(in, "dense tensors");

    const auto tag = in.read<std::uint32_t>("the kind of id features");
    if (tag == 1) {
        read_ids(in, batch);
    } else if (tag == 2) {
        throw DecodeError("id features (tag 0 or 1)",
                          "a reference to features on another server (tag 2), which exists in training only",
                          in.position() - 4);
    } else if (tag != 0) {
        throw DecodeError("id features (tag 0 or 1)", "tag " + std::to_string(tag), in.position() - 4);
    }

    batch.labels = read_tensors(in, "labels");
    if (in.flag("the presence of meta")) {
        const std::size_t count = in.length(1, "bytes of meta");
        batch.meta = in.take(count, "meta");
    }
    if (in.flag("the presence of a batch id")) batch.batch_id = in.read<std::uint64_t>("batch id");
    in.expect_end("the batch");
    take_weights(batch);
    return batch;
}

}  // namespace persia
