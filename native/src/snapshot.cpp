#include "persia/snapshot.hpp"

#include <algorithm>
#include <cstring>

#include "persia/half.hpp"

namespace persia {

namespace {

// A lookup is a pipeline over blocks of this many signs, so that hundreds of cache lines are on their way at a time:
// fetch the signs' buckets; search these and fetch the rows, or the next bucket; search the next buckets and fetch the rows;
// use the rows. While a block is in one step, the three blocks before it are in the steps after.
constexpr std::size_t kBlock = 32;
constexpr std::size_t kSteps = 4;
constexpr std::size_t kLine = 64;
constexpr std::size_t kMaxPrefetchedLines = 8;

struct Block {
    std::uint64_t hashes[kBlock];
    Bucket* buckets[kBlock];
    const std::byte* rows[kBlock];
    std::uint8_t unfinished[kBlock];  // which signs are not in their home bucket, which others have passed
    std::size_t unfinished_count;
    std::uint32_t in_layers;  // bit i: a layer may know sign i
};
static_assert(kBlock <= 32);

// The compiler unrolls the loop below before it would make vectors of it, so they are spelt out. Sums lie at any multiple of
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
Misses for_dim(RowStorage storage, std::uint32_t dim, Other other, With with) {
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

}  // namespace

// The steps of a lookup, for one dim.
class Snapshot::Lookup {
  public:
    Lookup(const Snapshot& snapshot, std::span<const std::uint64_t> signs, std::uint32_t dim)
        : layers_(snapshot.layers_), base_(snapshot.base_.rows), track_use_(snapshot.base_.track_use), signs_(signs), dim_(dim),
          row_lines_(std::min(kMaxPrefetchedLines, (row_bytes(base_.arena().storage(), dim) + kLine - 1) / kLine)) {}

    void fetch(Block& block, std::size_t begin, std::size_t n) const {
        for (std::size_t i = 0; i < n; ++i) {
            const std::uint64_t hash = table_hash(signs_[begin + i]);
            block.hashes[i] = hash;
            block.buckets[i] = base_.index().part(hash).home(hash);
            __builtin_prefetch(block.buckets[i]);
        }
        block.in_layers = 0;
        for (const auto& layer : layers_) {
            for (std::size_t i = 0; i < n; ++i) {
                if (!layer->filter.may_have(block.hashes[i])) continue;
                block.in_layers |= std::uint32_t{1} << i;
                __builtin_prefetch(layer->rows.index().part(block.hashes[i]).home(block.hashes[i]));
            }
        }
    }

    void search(Block& block, std::size_t begin, std::size_t n) {
        block.unfinished_count = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const std::uint64_t sign = signs_[begin + i];
            if ((block.in_layers >> i & 1U) != 0 && search_layers(block, i, sign)) continue;
            const Entry found = Part::look(block.buckets[i], sign);
            if (found.ref == kNoRef && Part::was_passed(block.buckets[i])) {
                block.buckets[i] = base_.index().part(block.hashes[i]).after(block.buckets[i]);
                __builtin_prefetch(block.buckets[i]);
                block.unfinished[block.unfinished_count++] = static_cast<std::uint8_t>(i);
                continue;
            }
            block.rows[i] = in_base(found);
        }
    }

    void finish(Block& block, std::size_t begin) {
        for (std::size_t k = 0; k < block.unfinished_count; ++k) {
            const std::size_t i = block.unfinished[k];
            block.rows[i] = in_base(base_.index().part(block.hashes[i]).find(block.buckets[i], signs_[begin + i]));
        }
    }

    Misses misses() const { return misses_; }

  private:
    // False if no layer knows the sign.
    bool search_layers(Block& block, std::size_t i, std::uint64_t sign) {
        for (const auto& layer : layers_) {
            if (!layer->filter.may_have(block.hashes[i])) continue;
            const Part part = layer->rows.index().part(block.hashes[i]);
            const Entry found = part.find(part.home(block.hashes[i]), sign);
            if (found.ref == kNoRef) continue;
            block.rows[i] = row(layer->rows.arena(), found.ref == kDeletedRef ? kNoRef : found.ref);
            return true;
        }
        return false;
    }

    const std::byte* in_base(const Entry& found) {
        if (track_use_ && found.ref != kNoRef) found.mark_used();
        return row(base_.arena(), found.ref);
    }

    // Starts to fetch the row. Null, and counted, if there is none to use.
    const std::byte* row(const RowArena& arena, std::uint32_t ref) {
        if (ref == kNoRef) {
            ++misses_.absent;
            return nullptr;
        }
        const std::uint32_t slot = slot_of_ref(ref);
        if (arena.dim(slot) != dim_) {
            ++misses_.wrong_dim;
            return nullptr;
        }
        const std::byte* found = arena.row(slot);
        for (std::size_t line = 0; line < row_lines_; ++line) __builtin_prefetch(found + line * kLine);
        return found;
    }

    const std::vector<std::shared_ptr<const Layer>>& layers_;
    const RowMap& base_;
    const bool track_use_;
    const std::span<const std::uint64_t> signs_;
    const std::uint32_t dim_;
    const std::size_t row_lines_;
    Misses misses_;
};

// use(i, row) for each sign in order; row is null where there is none.
template <class Use>
Misses Snapshot::visit(std::span<const std::uint64_t> signs, std::uint32_t dim, Use use) const {
    const std::size_t n = signs.size();
    const std::size_t blocks = (n + kBlock - 1) / kBlock;
    const auto size = [n](std::size_t block) { return std::min(kBlock, n - block * kBlock); };
    Lookup lookup(*this, signs, dim);
    Block ring[kSteps];
    for (std::size_t turn = 0; turn < blocks + kSteps - 1; ++turn) {
        if (turn < blocks) lookup.fetch(ring[turn % kSteps], turn * kBlock, size(turn));
        if (turn >= 1 && turn - 1 < blocks) lookup.search(ring[(turn - 1) % kSteps], (turn - 1) * kBlock, size(turn - 1));
        if (turn >= 2 && turn - 2 < blocks) lookup.finish(ring[(turn - 2) % kSteps], (turn - 2) * kBlock);
        if (turn < 3) continue;
        const Block& done = ring[(turn - 3) % kSteps];
        for (std::size_t i = 0; i < size(turn - 3); ++i) use((turn - 3) * kBlock + i, done.rows[i]);
    }
    return lookup.misses();
}

Misses Snapshot::rows(std::span<const std::uint64_t> signs, std::uint32_t dim, float* out) const {
    const RowStorage storage = base_.rows.arena().storage();
    const auto any = [=](const std::byte* row, float* target) { load_row(storage, row, dim, target); };
    return for_dim<CopyF32>(storage, dim, any, [&](auto copy) {
        return visit(signs, dim, [=](std::size_t i, const std::byte* row) {
            float* target = out + i * dim;
            if (row == nullptr) {
                std::fill_n(target, dim, 0.0F);
            } else {
                copy(row, target);
            }
        });
    });
}

Misses Snapshot::halves(std::span<const std::uint64_t> signs, std::uint32_t dim, std::uint16_t* out) const {
    const RowStorage storage = base_.rows.arena().storage();
    std::vector<float> block(std::min(kBlock, signs.size()) * dim);  // to convert one row at a time takes longer
    const auto any = [=](const std::byte* row, float* sum) {
        std::fill_n(sum, dim, 0.0F);
        add_row(storage, row, dim, sum);
    };
    return for_dim<SumOfOneF32>(storage, dim, any, [&](auto sum_of_one) {
        return visit(signs, dim, [&, sum_of_one, last = signs.size() - 1](std::size_t i, const std::byte* row) {
            float* sum = block.data() + i % kBlock * dim;
            if (row == nullptr) {
                std::fill_n(sum, dim, 0.0F);
            } else {
                sum_of_one(row, sum);
            }
            if (i % kBlock == kBlock - 1 || i == last) {
                to_half(block.data(), out + (i - i % kBlock) * dim, (i % kBlock + 1) * dim);
            }
        });
    });
}

Misses Snapshot::sums(std::span<const std::uint64_t> signs, std::span<const std::uint32_t> counts,
                      std::span<const std::uint16_t> samples, std::uint32_t dim, float* sums) const {
    const RowStorage storage = base_.rows.arena().storage();
    const auto any = [=](const std::byte* row, float* sum) { add_row(storage, row, dim, sum); };
    return for_dim<AddF32>(storage, dim, any, [&](auto add) {
        const std::uint16_t* sample = samples.data();
        return visit(signs, dim, [=](std::size_t i, const std::byte* row) mutable {
            const std::uint16_t* end = sample + counts[i];
            if (row == nullptr) sample = end;
            for (; sample != end; ++sample) add(row, sums + std::size_t{*sample} * dim);
        });
    });
}

std::vector<std::uint64_t> Snapshot::signs() const {
    std::vector<std::uint64_t> all;
    // A sign that a layer knows is the layer's to tell: its entry in what lies below may be changing right now.
    const auto known_above = [&](std::size_t layer, std::uint64_t sign) {
        for (std::size_t above = 0; above < layer; ++above) {
            if (layers_[above]->rows.index().find(sign).ref != kNoRef) return true;
        }
        return false;
    };
    for (std::size_t layer = 0; layer <= layers_.size(); ++layer) {
        const Index& index = layer < layers_.size() ? layers_[layer]->rows.index() : base_.rows.index();
        index.for_each([&](const Entry& entry, std::uint64_t sign) {
            if (entry.ref != kDeletedRef && !known_above(layer, sign)) all.push_back(sign);
        });
    }
    return all;
}

}  // namespace persia
