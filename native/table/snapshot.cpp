#include "table/snapshot.hpp"

#include <algorithm>
#include <bit>

#include "table/row_use.hpp"
#include "table/variants.hpp"

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
    std::uint32_t absent;     // bit i: sign i has no row
    std::uint32_t wrong_dim;  // bit i: sign i has a row of another dim
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
    std::size_t size() const { return runs_.size(); }

  private:
    std::span<const Run> runs_;
    std::size_t run_ = 0;
    std::size_t first_ = 0;  // in the run
};

}  // namespace

void Layer::forget(std::span<const std::uint64_t> signs) {
    for (const std::uint64_t sign : signs) rows.forget(sign);
    if (ends.empty()) return;
    std::vector<std::uint64_t> sorted(signs.begin(), signs.end());
    std::ranges::sort(sorted);
    std::erase_if(ends, [&](const End& end) { return std::ranges::binary_search(sorted, end.sign); });
}

// The steps of a lookup.
class Snapshot::Lookup {
  public:
    Lookup(const Snapshot& snapshot, std::span<const std::uint64_t> signs, std::span<const Run> runs,
           std::vector<RunMisses>& by_run, std::uint64_t variant)
        : own_layers_(snapshot.own_layers(variant)), layers_(snapshot.layers_), base_(snapshot.base_.rows),
          track_use_(snapshot.base_.track_use), signs_(signs), fetched_(runs), used_(runs), by_run_(by_run) {
        by_run_.clear();
    }

    void fetch(Block& block, std::size_t begin, std::size_t n) {
        fetched_.next(n, [&](std::size_t i, std::size_t count) { std::fill_n(block.dims + i, count, fetched_.dim()); });
        for (std::size_t i = 0; i < n; ++i) {
            const std::uint64_t hash = table_hash(signs_[begin + i]);
            block.hashes[i] = hash;
            block.buckets[i] = base_.index().part(hash).home(hash);
            __builtin_prefetch(block.buckets[i]);
        }
        block.in_layers = block.absent = block.wrong_dim = 0;
        for (const auto& layer : own_layers_) find_in(*layer, block, n);
        for (const auto& layer : layers_) find_in(*layer, block, n);
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
            block.rows[i] = in_base(block, i, found);
        }
    }

    void finish(Block& block, std::size_t begin) {
        for (std::size_t k = 0; k < block.unfinished_count; ++k) {
            const std::size_t i = block.unfinished[k];
            const Entry found = base_.index().part(block.hashes[i]).find(block.buckets[i], signs_[begin + i]);
            block.rows[i] = in_base(block, i, found);
        }
    }

    void use(const Block& block, std::size_t n, RowUser& user) {
        const bool misses = (block.absent | block.wrong_dim) != 0;
        used_.next(n, [&](std::size_t i, std::size_t count) {
            user.use(used_.run(), used_.first(), {block.rows + i, count});
            if (misses) [[unlikely]]
                note_misses(block, i, count);
        });
    }

    Misses misses() const { return misses_; }

  private:
    // Notes which of the signs the layer may know.
    static void find_in(const Layer& layer, Block& block, std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) {
            if (!layer.filter.may_have(block.hashes[i])) continue;
            block.in_layers |= std::uint32_t{1} << i;
            __builtin_prefetch(layer.rows.index().part(block.hashes[i]).home(block.hashes[i]));
        }
    }

    // False if no layer knows the sign.
    bool search_layers(Block& block, std::size_t i, std::uint64_t sign) {
        const auto knows = [&](const auto& layer) { return search_layer(*layer, block, i, sign); };
        return std::ranges::any_of(own_layers_, knows) || std::ranges::any_of(layers_, knows);
    }

    static bool search_layer(const Layer& layer, Block& block, std::size_t i, std::uint64_t sign) {
        if (!layer.filter.may_have(block.hashes[i])) return false;
        const Part part = layer.rows.index().part(block.hashes[i]);
        const Entry found = part.find(part.home(block.hashes[i]), sign);
        if (found.ref == kNoRef) return false;
        block.rows[i] = row(block, i, layer.rows.arena(), found.ref == kDeletedRef ? kNoRef : found.ref);
        return true;
    }

    const std::byte* in_base(Block& block, std::size_t i, const Entry& found) {
        if (track_use_ && found.ref != kNoRef) found.mark_used();
        return row(block, i, base_.arena(), found.ref);
    }

    // Starts to fetch the row of sign i. Null, and noted, if there is none to use.
    static const std::byte* row(Block& block, std::size_t i, const RowArena& arena, std::uint32_t ref) {
        if (ref == kNoRef) {
            block.absent |= std::uint32_t{1} << i;
            return nullptr;
        }
        const std::uint32_t slot = slot_of_ref(ref);
        const std::uint32_t dim = block.dims[i];
        if (arena.dim(slot) != dim) {
            block.wrong_dim |= std::uint32_t{1} << i;
            return nullptr;
        }
        const std::byte* found = arena.row(slot);
        const std::byte* end = found + std::min(row_bytes(arena.storage(), dim), kMaxPrefetched);
        for (const std::byte* line = found; line < end; line += kLine) __builtin_prefetch(line);
        return found;
    }

    // Counts those of `count` signs from sign i of the block on, which are of the run that is used.
    [[gnu::noinline]] void note_misses(const Block& block, std::size_t i, std::size_t count) {
        const std::uint32_t stretch = ~std::uint32_t{0} >> (kBlock - count) << i;
        const auto absent = static_cast<std::uint32_t>(std::popcount(block.absent & stretch));
        const auto wrong_dim = static_cast<std::uint32_t>(std::popcount(block.wrong_dim & stretch));
        if (absent + wrong_dim == 0) return;
        if (by_run_.empty()) by_run_.resize(used_.size());
        by_run_[used_.run()].absent += absent;
        by_run_[used_.run()].wrong_dim += wrong_dim;
        misses_.absent += absent;
        misses_.wrong_dim += wrong_dim;
    }

    const std::span<const std::shared_ptr<const Layer>> own_layers_;  // of the variant
    const std::span<const std::shared_ptr<const Layer>> layers_;
    const RowMap& base_;
    const bool track_use_;
    const std::span<const std::uint64_t> signs_;
    Runs fetched_, used_;
    std::vector<RunMisses>& by_run_;
    Misses misses_;
};

Misses Snapshot::visit(std::span<const std::uint64_t> signs, std::span<const Run> runs, RowUser& user,
                       std::vector<RunMisses>& by_run, std::uint64_t variant) const {
    const std::size_t n = signs.size();
    const std::size_t blocks = (n + kBlock - 1) / kBlock;
    const auto size = [n](std::size_t block) { return std::min(kBlock, n - block * kBlock); };
    Lookup lookup(*this, signs, runs, by_run, variant);
    Block ring[kSteps];
    for (std::size_t turn = 0; turn < blocks + kSteps - 1; ++turn) {
        if (turn < blocks) lookup.fetch(ring[turn % kSteps], turn * kBlock, size(turn));
        if (turn >= 1 && turn - 1 < blocks) lookup.search(ring[(turn - 1) % kSteps], (turn - 1) * kBlock, size(turn - 1));
        if (turn >= 2 && turn - 2 < blocks) lookup.finish(ring[(turn - 2) % kSteps], (turn - 2) * kBlock);
        if (turn >= 3) lookup.use(ring[(turn - 3) % kSteps], size(turn - 3), user);
    }
    return lookup.misses();
}

Misses Snapshot::rows(std::span<const std::uint64_t> signs, std::uint32_t dim, float* out, std::uint64_t variant) const {
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
    std::vector<RunMisses> by_run;
    return visit(signs, {&run, 1}, copy, by_run, variant);
}

bool Snapshot::has_variant(std::uint64_t variant) const {
    return variant == 0 || (variants_ != nullptr && variants_->of(variant) != nullptr);
}

std::span<const std::shared_ptr<const Layer>> Snapshot::own_layers(std::uint64_t variant) const {
    if (variant == 0) return {};
    return *variants_->of(variant);
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
