#include "persia/snapshot.hpp"

#include <algorithm>

#include "persia/row_use.hpp"

namespace persia {

namespace {

// A lookup is a pipeline over blocks of this many signs, so that hundreds of cache lines are on their way at a time:
// fetch the signs' buckets; search these and fetch the rows, or the next bucket; search the next buckets and fetch the rows;
// use the rows. While a block is in one step, the three blocks before it are in the steps after. Blocks do not end with a run:
// of a batch of one sample each run is one sign, and to wait for one after the other took four times as long.
constexpr std::size_t kBlock = 32;
constexpr std::size_t kSteps = 4;
constexpr std::size_t kLine = 64;
constexpr std::size_t kMaxPrefetched = 8 * kLine;  // of a row

struct Block {
    std::uint64_t hashes[kBlock];
    std::uint32_t dims[kBlock];
    Bucket* buckets[kBlock];
    const std::byte* rows[kBlock];
    std::uint8_t unfinished[kBlock];  // which signs are not in their home bucket, which others have passed
    std::size_t unfinished_count;
    std::uint32_t in_layers;  // bit i: a layer may know sign i
};
static_assert(kBlock <= 32);

// Goes through runs, some signs at a time.
class Runs {
  public:
    explicit Runs(std::span<const Run> runs) : runs_(runs) {}

    // f(i, count) for each stretch of the next n signs that lies in one run, the one that run(), first() and dim() tell.
    template <class F>
    void next(std::size_t n, F f) {
        for (std::size_t i = 0; i < n;) {
            while (first_ == runs_[run_].signs) {
                ++run_;
                first_ = 0;
            }
            const std::size_t count = std::min(n - i, runs_[run_].signs - first_);
            f(i, count);
            first_ += count;
            i += count;
        }
    }

    std::size_t run() const { return run_; }
    std::size_t first() const { return first_; }
    std::uint32_t dim() const { return runs_[run_].dim; }

  private:
    std::span<const Run> runs_;
    std::size_t run_ = 0;
    std::size_t first_ = 0;  // in the run
};

}  // namespace

// The steps of a lookup.
class Snapshot::Lookup {
  public:
    Lookup(const Snapshot& snapshot, std::span<const std::uint64_t> signs, std::span<const Run> runs)
        : layers_(snapshot.layers_), base_(snapshot.base_.rows), track_use_(snapshot.base_.track_use), signs_(signs),
          fetched_(runs), used_(runs) {}

    void fetch(Block& block, std::size_t begin, std::size_t n) {
        fetched_.next(n, [&](std::size_t i, std::size_t count) { std::fill_n(block.dims + i, count, fetched_.dim()); });
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
            block.rows[i] = in_base(found, block.dims[i]);
        }
    }

    void finish(Block& block, std::size_t begin) {
        for (std::size_t k = 0; k < block.unfinished_count; ++k) {
            const std::size_t i = block.unfinished[k];
            const Entry found = base_.index().part(block.hashes[i]).find(block.buckets[i], signs_[begin + i]);
            block.rows[i] = in_base(found, block.dims[i]);
        }
    }

    void use(const Block& block, std::size_t n, RowUser& user) {
        used_.next(n, [&](std::size_t i, std::size_t count) { user.use(used_.run(), used_.first(), {block.rows + i, count}); });
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
            block.rows[i] = row(layer->rows.arena(), found.ref == kDeletedRef ? kNoRef : found.ref, block.dims[i]);
            return true;
        }
        return false;
    }

    const std::byte* in_base(const Entry& found, std::uint32_t dim) {
        if (track_use_ && found.ref != kNoRef) found.mark_used();
        return row(base_.arena(), found.ref, dim);
    }

    // Starts to fetch the row. Null, and counted, if there is none to use.
    const std::byte* row(const RowArena& arena, std::uint32_t ref, std::uint32_t dim) {
        if (ref == kNoRef) {
            ++misses_.absent;
            return nullptr;
        }
        const std::uint32_t slot = slot_of_ref(ref);
        if (arena.dim(slot) != dim) {
            ++misses_.wrong_dim;
            return nullptr;
        }
        const std::byte* found = arena.row(slot);
        const std::byte* end = found + std::min(row_bytes(arena.storage(), dim), kMaxPrefetched);
        for (const std::byte* line = found; line < end; line += kLine) __builtin_prefetch(line);
        return found;
    }

    const std::vector<std::shared_ptr<const Layer>>& layers_;
    const RowMap& base_;
    const bool track_use_;
    const std::span<const std::uint64_t> signs_;
    Runs fetched_, used_;
    Misses misses_;
};

Misses Snapshot::visit(std::span<const std::uint64_t> signs, std::span<const Run> runs, RowUser& user) const {
    const std::size_t n = signs.size();
    const std::size_t blocks = (n + kBlock - 1) / kBlock;
    const auto size = [n](std::size_t block) { return std::min(kBlock, n - block * kBlock); };
    Lookup lookup(*this, signs, runs);
    Block ring[kSteps];
    for (std::size_t turn = 0; turn < blocks + kSteps - 1; ++turn) {
        if (turn < blocks) lookup.fetch(ring[turn % kSteps], turn * kBlock, size(turn));
        if (turn >= 1 && turn - 1 < blocks) lookup.search(ring[(turn - 1) % kSteps], (turn - 1) * kBlock, size(turn - 1));
        if (turn >= 2 && turn - 2 < blocks) lookup.finish(ring[(turn - 2) % kSteps], (turn - 2) * kBlock);
        if (turn >= 3) lookup.use(ring[(turn - 3) % kSteps], size(turn - 3), user);
    }
    return lookup.misses();
}

Misses Snapshot::rows(std::span<const std::uint64_t> signs, std::uint32_t dim, float* out) const {
    struct Copy final : RowUser {
        void use(std::size_t, std::size_t first, std::span<const std::byte* const> rows) override {
            copy_rows(storage, dim, rows, out + first * dim);
        }
        RowStorage storage;
        std::uint32_t dim;
        float* out;
    } copy;
    copy.storage = storage();
    copy.dim = dim;
    copy.out = out;
    const Run run{signs.size(), dim};
    return visit(signs, {&run, 1}, copy);
}

bool Snapshot::has(std::uint64_t sign) const {
    for (const auto& layer : layers_) {
        if (const Entry found = layer->rows.index().find(sign); found.ref != kNoRef) return found.ref != kDeletedRef;
    }
    return base_.rows.index().find(sign).ref != kNoRef;
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
