// Puts a byte batch together (docs/formats/byte-batch.md), piece by piece.
//
// Thread safety: none per encoder; different encoders are independent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/bytes.hpp"
#include "batch/batch.hpp"

namespace persia {

inline constexpr std::size_t kMaxBatchSize = 65535;     // samples: a batch size is a u16
inline constexpr std::size_t kMaxIdsPerSample = 65536;  // ids: a column is a u16

// What is added is copied at once. A call that throws leaves the batch as it was. Names are UTF-8.
// Errors: FeatureError with the name of what was added; TooLarge beyond what the format's length fields hold.
class BatchEncoder {
  public:
    BatchEncoder() = default;
    BatchEncoder(BatchEncoder&&) = default;
    BatchEncoder& operator=(BatchEncoder&&) = default;

    // Dense tensors and labels in C order: product(shape) items at `data`, at any alignment.
    void add_dense(const TensorView& tensor) { dense_count_ += add_tensor(dense_, tensor); }
    void add_label(const TensorView& tensor) { label_count_ += add_tensor(labels_, tensor); }

    // Sample i has the ids values[offsets[i] .. offsets[i + 1]). offsets (batch + 1) rise from 0 to values.size().
    void add_ids(std::string_view name, std::span<const std::uint64_t> values, std::span<const std::int64_t> offsets);
    // One id per sample. values (batch)
    void add_single_ids(std::string_view name, std::span<const std::uint64_t> values);
    // samples (batch) of any lengths
    void add_id_lists(std::string_view name, std::span<const std::span<const std::uint64_t>> samples);

    void set_requires_grad(bool value) { requires_grad_ = value; }
    void set_meta(std::span<const std::byte> meta);
    void set_batch_id(std::uint64_t id) { batch_id_ = id; }

    std::size_t size() const;             // bytes of the batch as it stands
    void write_to(std::byte* out) const;  // REQUIRES size() bytes of room

  private:
    struct Chunk {
        std::unique_ptr<std::byte[]> bytes;
        std::size_t size;
    };
    // `order` is the place of a sign in the order of first appearance, valid if `feature` is the current one: so the table
    // need not be wiped between features.
    struct Slot {
        std::uint64_t sign;
        std::uint32_t feature;
        std::uint32_t order;
    };

    static std::uint32_t add_tensor(Writer& out, const TensorView& tensor);
    template <class SampleOf>
    void add_feature(std::string_view name, std::size_t batch_size, SampleOf&& sample_of);
    template <class SampleOf>
    std::size_t count_ids(std::string_view name, std::size_t batch_size, SampleOf&& sample_of) const;
    template <class SampleOf>
    void find_distinct(std::size_t batch_size, std::size_t ids, SampleOf&& sample_of);
    template <class SampleOf>
    Chunk write_feature(std::string_view name, std::size_t batch_size, std::size_t ids, SampleOf&& sample_of);

    Writer dense_, labels_;
    std::uint32_t dense_count_ = 0, label_count_ = 0;
    std::vector<Chunk> features_;
    std::unordered_set<std::string> names_;
    bool requires_grad_ = false;
    std::optional<std::vector<std::byte>> meta_;
    std::optional<std::uint64_t> batch_id_;

    // Scratch of one feature, kept for the next.
    std::vector<Slot> slots_;
    std::uint32_t feature_ = 0;
    std::vector<std::uint64_t> distinct_;  // signs in the order of first appearance
    std::vector<std::uint32_t> uses_;      // of each of them
    std::vector<std::uint32_t> order_;     // of each id
    std::vector<std::byte*> cursor_;       // where the next position of each of them goes
};

}  // namespace persia
