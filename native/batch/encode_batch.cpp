#include "batch/encode_batch.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/hash.hpp"
#include "base/utf8.hpp"

namespace persia {

namespace {

// Writes fields one after the other into memory that is known to suffice.
class Cursor {
  public:
    explicit Cursor(std::byte* at) : at_(at) {}

    template <class T>
    void put(T value) {
        store(at_, value);
        at_ += sizeof(T);
    }
    void put(std::span<const std::byte> bytes) {
        if (!bytes.empty()) std::memcpy(at_, bytes.data(), bytes.size());
        at_ += bytes.size();
    }
    std::byte* at() const { return at_; }
    void skip(std::size_t count) { at_ += count; }

  private:
    std::byte* at_;
};

void check_name(std::string_view name) {
    if (!is_utf8(name)) throw FeatureError(std::string(name), "expected a name in UTF-8");
}

}  // namespace

std::uint32_t BatchEncoder::add_tensor(Writer& out, const TensorView& tensor) {
    const std::string name(tensor.name.value_or("tensor"));
    check_name(name);
    std::size_t items = 1;
    for (const std::uint64_t size : tensor.shape) items *= size;
    if (items * item_size(tensor.dtype) != tensor.data.size()) {
        throw FeatureError(name, "expected " + std::to_string(items) + " items, the product of the shape, got " +
                                     std::to_string(tensor.data.size()) + " bytes of " + dtype_name(tensor.dtype));
    }
    if (items > std::numeric_limits<std::uint32_t>::max()) {
        throw FeatureError(name, "expected at most 4294967295 items, got " + std::to_string(items));
    }
    out.reserve(tensor.data.size() + 16 * tensor.shape.size() + name.size() + 40);
    out.write(std::uint32_t{0});  // storage: CPU
    out.write(static_cast<std::uint32_t>(tensor.dtype));
    out.length(items);
    out.bytes(tensor.data);
    out.length(tensor.shape.size());
    for (const std::uint64_t size : tensor.shape) out.write(size);
    out.length(tensor.shape.size());
    for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
        std::uint64_t step = 1;
        for (std::size_t k = i + 1; k < tensor.shape.size(); ++k) step *= tensor.shape[k];
        out.write(step);
    }
    out.write(std::uint8_t{tensor.name.has_value()});
    if (tensor.name) out.string(*tensor.name);
    out.write(std::uint32_t{0});  // device: CPU
    out.write(std::uint8_t{0});   // without an id
    return 1;
}

void BatchEncoder::add_ids(std::string_view name, std::span<const std::uint64_t> values,
                           std::span<const std::int64_t> borrowed_offsets) {
    // Other threads may write to the caller's memory while this runs: what is checked must be what is used.
    const std::vector<std::int64_t> offsets(borrowed_offsets.begin(), borrowed_offsets.end());
    if (offsets.empty() || offsets.front() != 0 || offsets.back() != static_cast<std::int64_t>(values.size())) {
        const std::string got =
            offsets.empty() ? "none" : std::to_string(offsets.front()) + " to " + std::to_string(offsets.back());
        throw FeatureError(std::string(name), "expected offsets from 0 to the number of values (" +
                                                  std::to_string(values.size()) + "), got " + got);
    }
    for (std::size_t i = 1; i < offsets.size(); ++i) {
        if (offsets[i] >= offsets[i - 1]) continue;
        throw FeatureError(std::string(name), "expected offsets that never fall, got " + std::to_string(offsets[i]) +
                                                  " after " + std::to_string(offsets[i - 1]) + " at offset " +
                                                  std::to_string(i));
    }
    add_feature(name, offsets.size() - 1, [&](std::size_t i) {
        const auto begin = static_cast<std::size_t>(offsets[i]);
        return values.subspan(begin, static_cast<std::size_t>(offsets[i + 1]) - begin);
    });
}

void BatchEncoder::add_single_ids(std::string_view name, std::span<const std::uint64_t> values) {
    add_feature(name, values.size(), [&](std::size_t i) { return values.subspan(i, 1); });
}

void BatchEncoder::add_id_lists(std::string_view name, std::span<const std::span<const std::uint64_t>> samples) {
    add_feature(name, samples.size(), [&](std::size_t i) { return samples[i]; });
}

template <class SampleOf>
void BatchEncoder::add_feature(std::string_view name, std::size_t batch_size, SampleOf&& sample_of) {
    check_name(name);
    const std::size_t ids = count_ids(name, batch_size, sample_of);
    std::string key(name);
    if (names_.contains(key)) throw FeatureError(key, "the batch has this feature twice");
    find_distinct(batch_size, ids, sample_of);
    features_.push_back(write_feature(name, batch_size, ids, sample_of));
    names_.insert(std::move(key));
}

template <class SampleOf>
std::size_t BatchEncoder::count_ids(std::string_view name, std::size_t batch_size, SampleOf&& sample_of) const {
    if (batch_size > kMaxBatchSize) {
        throw FeatureError(std::string(name), "expected at most 65535 samples, got " + std::to_string(batch_size));
    }
    std::size_t ids = 0;
    for (std::size_t i = 0; i < batch_size; ++i) {
        const std::size_t count = sample_of(i).size();
        if (count > kMaxIdsPerSample) {
            throw FeatureError(std::string(name), "expected at most 65536 ids in a sample, got " + std::to_string(count) +
                                                      " in sample " + std::to_string(i));
        }
        ids += count;
    }
    // A decoder refuses batches beyond 4 GiB, and an id may take 32 bytes and more.
    if (ids > std::numeric_limits<std::uint32_t>::max() / 40) {
        throw FeatureError(std::string(name), "expected at most 107374182 ids, got " + std::to_string(ids));
    }
    return ids;
}

// Fills distinct_, uses_ and order_.
template <class SampleOf>
void BatchEncoder::find_distinct(std::size_t batch_size, std::size_t ids, SampleOf&& sample_of) {
    const std::size_t wanted = std::bit_ceil(std::max<std::size_t>(2 * ids, 64));
    if (slots_.size() < wanted) {
        slots_.assign(wanted, Slot{0, 0, 0});
        feature_ = 0;
    }
    ++feature_;  // cannot wrap: each feature has a name of its own in memory
    // A small feature after a big one uses a part of the table only, which is in the cache sooner.
    const std::size_t mask = wanted - 1;
    distinct_.clear();
    uses_.clear();
    order_.resize(ids);
    std::uint32_t* order = order_.data();
    for (std::size_t i = 0; i < batch_size; ++i) {
        for (const std::uint64_t sign : sample_of(i)) {
            std::size_t at = static_cast<std::size_t>(table_hash(sign)) & mask;
            while (slots_[at].feature == feature_ && slots_[at].sign != sign) at = (at + 1) & mask;
            Slot& slot = slots_[at];
            if (slot.feature != feature_) {
                slot = {sign, feature_, static_cast<std::uint32_t>(distinct_.size())};
                distinct_.push_back(sign);
                uses_.push_back(0);
            }
            ++uses_[slot.order];
            *order++ = slot.order;
        }
    }
}

template <class SampleOf>
BatchEncoder::Chunk BatchEncoder::write_feature(std::string_view name, std::size_t batch_size, std::size_t ids,
                                                SampleOf&& sample_of) {
    const std::size_t size =
        (4 + name.size()) + (4 + 12 * distinct_.size() + 4 * ids) + (4 + 4 * batch_size) + (4 + 16 * distinct_.size()) + 2;
    Chunk chunk{std::make_unique_for_overwrite<std::byte[]>(size), size};
    Cursor out(chunk.bytes.get());
    const auto length = [&out](std::size_t count) { out.put(static_cast<std::uint32_t>(count)); };

    length(name.size());
    out.put(std::as_bytes(std::span(name)));
    length(distinct_.size());
    cursor_.resize(distinct_.size());
    for (std::size_t k = 0; k < distinct_.size(); ++k) {
        out.put(distinct_[k]);
        length(uses_[k]);
        cursor_[k] = out.at();
        out.skip(uses_[k] * sizeof(Position));
    }
    const std::uint32_t* order = order_.data();
    for (std::size_t i = 0; i < batch_size; ++i) {
        const std::size_t count = sample_of(i).size();
        for (std::size_t column = 0; column < count; ++column) {
            std::byte*& at = cursor_[*order++];
            store(at, Position{static_cast<std::uint16_t>(i), static_cast<std::uint16_t>(column)});
            at += sizeof(Position);
        }
    }
    length(batch_size);
    for (std::size_t i = 0; i < batch_size; ++i) length(sample_of(i).size());
    length(distinct_.size());
    for (std::size_t k = 0; k < distinct_.size(); ++k) {
        out.put(distinct_[k]);
        out.put(static_cast<std::int64_t>(k));
    }
    out.put(static_cast<std::uint16_t>(batch_size));
    return chunk;
}

void BatchEncoder::set_meta(std::span<const std::byte> meta) {
    if (meta.size() > std::numeric_limits<std::uint32_t>::max()) {
        throw TooLarge("expected at most 4 GiB of meta, got " + std::to_string(meta.size()) + " bytes");
    }
    meta_.emplace(meta.begin(), meta.end());
}

std::size_t BatchEncoder::size() const {
    std::size_t size = 4 + dense_.size() + 4 + 4 + labels_.size() + 1 + 1;
    if (!features_.empty()) size += 1 + 4 + 3;
    for (const Chunk& feature : features_) size += feature.size;
    if (meta_) size += 4 + meta_->size();
    if (batch_id_) size += 8;
    return size;
}

void BatchEncoder::write_to(std::byte* to) const {
    Cursor out(to);
    out.put(dense_count_);
    out.put(dense_.view());
    out.put(std::uint32_t{!features_.empty()});
    if (!features_.empty()) {
        out.put(std::uint8_t{requires_grad_});
        out.put(static_cast<std::uint32_t>(features_.size()));
        for (const Chunk& feature : features_) out.put(std::span<const std::byte>(feature.bytes.get(), feature.size));
        for (int i = 0; i < 3; ++i) out.put(std::uint8_t{0});  // what only batches in training carry
    }
    out.put(label_count_);
    out.put(labels_.view());
    out.put(std::uint8_t{meta_.has_value()});
    if (meta_) {
        out.put(static_cast<std::uint32_t>(meta_->size()));
        out.put(std::span<const std::byte>(*meta_));
    }
    out.put(std::uint8_t{batch_id_.has_value()});
    if (batch_id_) out.put(*batch_id_);
}

}  // namespace persia
