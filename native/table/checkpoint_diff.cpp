#include "table/checkpoint_diff.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "base/error.hpp"

namespace persia {

namespace {

// How far the pass looks ahead for index lines, and then for rows.
constexpr std::size_t kAhead = 128;
constexpr std::size_t kRowsAhead = 64;

// In the index of signs that were told: what is to become of them.
constexpr std::uint32_t kKeep = 1;
constexpr std::uint32_t kRenew = 2;

constexpr std::size_t kBits = 64;

}  // namespace

CheckpointDiff::CheckpointDiff(std::shared_ptr<const Snapshot> before, std::size_t most_bytes, std::uint64_t most_added)
    : before_(std::move(before)), most_bytes_(most_bytes), most_added_(most_added), layer_(before_->storage()),
      told_(kLayerShape), marked_(before_->layers().size() + 1) {}

void CheckpointDiff::keep(std::span<const std::uint64_t> signs) {
    for (const std::uint64_t sign : signs) {
        if (const Entry found = told_.find(sign); found.ref != kNoRef) {
            Index::replace(found, kKeep);
        } else {
            told_.insert(sign, kKeep, 0);
        }
    }
}

void CheckpointDiff::renew(std::span<const std::uint64_t> signs) {
    for (const std::uint64_t sign : signs) {
        if (told_.find(sign).ref == kNoRef) told_.insert(sign, kRenew, 0);
    }
}

const RowMap& CheckpointDiff::rows_at(std::size_t level) const {
    return level < before_->layers().size() ? before_->layers()[level]->rows : before_->base().rows;
}

// Where the row of a sign is; ref kNoRef or kDeletedRef: it has none.
CheckpointDiff::Found CheckpointDiff::find(std::uint64_t sign) const {
    const std::size_t levels = marked_.size();
    for (std::size_t level = 0; level < levels; ++level) {
        const RowMap& rows = rows_at(level);
        if (const Entry found = rows.index().find(sign); found.ref != kNoRef) return {level, found.ref, &rows};
    }
    return {levels - 1, kNoRef, nullptr};
}

std::uint64_t CheckpointDiff::put(const RowBlock& block, Shard shard, unsigned least_recency) {
    std::vector<std::uint32_t> own;
    own.reserve(block.size());
    for (std::size_t i = 0; i < block.size(); ++i) {
        if (shard.count > 1 && shard_of(block.signs[i], shard.count) != shard.index) continue;
        own.push_back(static_cast<std::uint32_t>(i));
    }
    const Index& base = before_->base().rows.index();
    Found ahead[kRowsAhead];
    for (std::size_t k = 0; k < own.size() + kRowsAhead; ++k) {
        if (k + kAhead < own.size()) __builtin_prefetch(base.home(block.signs[own[k + kAhead]]));
        if (k >= kRowsAhead) compare(block, own[k - kRowsAhead], ahead[k % kRowsAhead], least_recency);
        if (k >= own.size()) continue;
        const Found found = ahead[k % kRowsAhead] = find(block.signs[own[k]]);
        if (found.ref != kNoRef && found.ref != kDeletedRef) {
            __builtin_prefetch(found.rows->arena().row(slot_of_ref(found.ref)));
        }
    }
    return own.size();
}

void CheckpointDiff::compare(const RowBlock& block, std::size_t i, const Found& found, unsigned least_recency) {
    const std::uint64_t sign = block.signs[i];
    const Entry told = told_.size() == 0 ? Entry{} : told_.find(sign);
    if (told.ref == kKeep) return;
    if (found.ref == kNoRef || found.ref == kDeletedRef) {
        const bool is_cold = !block.recency.empty() && block.recency[i] < least_recency;
        if (is_cold || (most_added_ != 0 && added_ >= most_added_)) {
            ++left_out_;
            return;
        }
        put_row(block, i, 0);
        ++added_;
        return;
    }
    const std::uint32_t slot = slot_of_ref(found.ref);
    mark(found.level, slot);
    const RowArena& arena = found.rows->arena();
    const std::uint32_t dim = block.dims[i];
    const std::size_t size = row_bytes(arena.storage(), dim);
    const std::size_t size_before = row_bytes(arena.storage(), arena.dim(slot));
    row_.resize(size);
    store_row(arena.storage(), block.values[i], dim, row_.data());
    const bool is_same = arena.dim(slot) == dim && std::memcmp(row_.data(), arena.row(slot), size) == 0;
    if (is_same && told.ref != kRenew) return;
    put_row(block, i, size_before);
    replaced_ += is_same ? 0U : 1U;
}

void CheckpointDiff::put_row(const RowBlock& block, std::size_t i, std::size_t bytes_before) {
    const RowStorage storage = layer_.rows.arena().storage();
    const std::uint32_t dim = block.dims[i];
    spend(std::max(row_bytes(storage, dim), bytes_before));
    store_row(storage, block.values[i], dim, layer_.rows.place(block.signs[i], dim, 3));
}

// Of the layer, or of the one that keeps what was there for earlier epochs, whichever takes more.
void CheckpointDiff::spend(std::size_t row_bytes) {
    bytes_ += row_bytes + static_cast<std::size_t>(Index::bytes_per_sign(kLayerShape));
    if (bytes_ > most_bytes_) {
        throw TooLarge("expected a checkpoint whose changes take at most " + std::to_string(most_bytes_ >> 20) +
                       " MiB, got one whose changes take more");
    }
}

Layer CheckpointDiff::finish() {
    for (std::size_t level = 0; level < marked_.size(); ++level) remove_level(level);
    before_.reset();
    return std::move(layer_);
}

void CheckpointDiff::remove_level(std::size_t level) {
    const RowMap& rows = rows_at(level);
    rows.index().for_each([&](const Entry& entry, std::uint64_t sign) {
        if (entry.ref == kDeletedRef) return;
        // A sign that a layer knows is the layer's to tell: its entry in what lies below may be changing right now.
        for (std::size_t above = 0; above < level; ++above) {
            if (before_->layers()[above]->rows.index().find(sign).ref != kNoRef) return;
        }
        const std::uint32_t slot = slot_of_ref(entry.ref);
        if (is_marked(level, slot)) return;
        if (told_.size() != 0 && told_.find(sign).ref == kKeep) return;
        spend(row_bytes(rows.arena().storage(), rows.arena().dim(slot)));
        layer_.add_tombstone(sign);
        ++removed_;
    });
}

bool CheckpointDiff::is_marked(std::size_t level, std::uint32_t slot) const {
    const Slots& slots = marked_[level];
    return slot / kBits < slots.size() && (slots[slot / kBits] >> slot % kBits & 1U) != 0;
}

void CheckpointDiff::mark(std::size_t level, std::uint32_t slot) {
    Slots& slots = marked_[level];
    if (slot / kBits >= slots.size()) slots.resize(std::max<std::size_t>(slot / kBits + 1, slots.size() * 2));
    slots[slot / kBits] |= std::uint64_t{1} << slot % kBits;
}

}  // namespace persia
