// The byte batch that clients send (docs/formats/byte-batch.md): decoded into columns, and encoded from columns.
//
// Thread safety: free functions and plain values; no shared state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace persia {

// The tags are on the wire: do not renumber.
enum class DType : std::uint32_t { boolean = 0, f16, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64 };

std::size_t item_size(DType dtype);   // bytes
const char* dtype_name(DType dtype);  // numpy's name: "bool", "float16", ...

struct TensorView {
    DType dtype = DType::f32;
    std::vector<std::uint64_t> shape;
    std::span<const std::byte> data;  // C-contiguous, product(shape) items; borrowed from the decoded buffer
    std::optional<std::string_view> name;
};

struct Position {
    std::uint16_t sample;
    std::uint16_t column;
};
static_assert(sizeof(Position) == 4, "positions are copied from the wire as they are");

// A feature's slice of the columns in Batch.
struct FeatureView {
    std::string_view name;
    std::uint16_t batch_size = 0;
    std::size_t ids_begin = 0, ids_end = 0;   // into Batch::ids
    std::size_t samples_begin = 0;            // into Batch::ids_per_sample, batch_size items
    std::optional<std::size_t> weights = {};  // into Batch::weights
    std::uint32_t request = 0;                // of batches that were merged, the one whose it is
};

// The weights of a feature's ids, not checked yet: see weights.hpp.
struct WeightsView {
    TensorView tensor;
    bool padded = true;  // (batch, at least the most ids of a sample); else those of one sample after the other, without gaps
};

// A decoded batch. Views borrow from the buffer that was decoded, which must outlive it.
struct Batch {
    // How many ids each sample of the feature has.
    std::span<const std::uint32_t> counts_of(const FeatureView& feature) const {
        return std::span(ids_per_sample).subspan(feature.samples_begin, feature.batch_size);
    }

    std::vector<TensorView> dense;     // without those that are weights
    std::vector<WeightsView> weights;  // a dense tensor NAME.weights is those of the feature NAME
    bool has_ids = false;              // false: the id part was Null
    bool requires_grad = false;
    std::vector<FeatureView> features;            // in the sender's order
    std::vector<std::uint64_t> ids;               // in the sender's order; distinct in a feature if the sender kept to it
    std::vector<std::uint32_t> position_offsets;  // (ids + 1) into positions
    std::vector<Position> positions;              // sample < batch_size of its feature: checked; at least 1 per id
    std::vector<std::uint32_t> ids_per_sample;    // duplicates included; their sum is the number of positions: checked
    std::vector<TensorView> labels;
    std::optional<std::span<const std::byte>> meta;
    std::optional<std::uint64_t> batch_id;
    std::uint32_t requests = 1;  // from how many batches it was merged (merge_batches.hpp)
};

// How large the requests for its rows are, about.
inline std::size_t request_bytes(const Batch& batch) {
    return sizeof(std::uint64_t) * batch.ids.size() + sizeof(Position) * batch.positions.size();
}

// Throws DecodeError, FeatureError for two tensors of weights, and TooLarge beyond 4 GiB. Allocates at most a small multiple of
// bytes.size(), whatever the bytes say.
Batch decode_batch(std::span<const std::byte> bytes);

}  // namespace persia
