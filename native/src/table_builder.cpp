#include <algorithm>

#include "persia/error.hpp"
#include "persia/table.hpp"

namespace persia {

namespace {

// While it fills, a builder may be over its capacity by one part in this many: so evictions come in bulk.
constexpr std::uint64_t kSlack = 32;

// The rows of a block that belong to the shard. Valid until the thread's next call.
const RowBlock& rows_of_shard(const RowBlock& block, Shard shard) {
    thread_local RowBlock own;
    own.clear();
    for (std::size_t i = 0; i < block.size(); ++i) {
        if (shard_of(block.signs[i], shard.count) != shard.index) continue;
        own.signs.push_back(block.signs[i]);
        own.dims.push_back(block.dims[i]);
        own.values.push_back(block.values[i]);
        if (!block.recency.empty()) own.recency.push_back(block.recency[i]);
    }
    return own;
}

}  // namespace

TableBuilder::TableBuilder(TableOptions options) : options_(options), base_(std::in_place, options.storage, kBaseShape) {
    if (options.max_layers == 0) throw InvalidInput("expected at least 1 layer before layers are merged, got 0");
}

std::uint64_t TableBuilder::put(const RowBlock& block, Shard shard) {
    // Sorted out before the lock, so that several loaders do it at a time.
    const RowBlock& own = shard.count > 1 ? rows_of_shard(block, shard) : block;
    const std::lock_guard lock(mutex_);
    const std::uint64_t kept = base().put(own, {}, 0);
    if (options_.capacity != 0 && base().index().size() > options_.capacity + options_.capacity / kSlack) evict();
    return kept;
}

void TableBuilder::reserve(std::uint64_t rows) {
    const std::lock_guard lock(mutex_);
    const std::uint64_t room = options_.capacity == 0 ? rows : options_.capacity + options_.capacity / kSlack;
    base().index().reserve(std::min(rows, room));
}

std::uint64_t TableBuilder::rows() const {
    const std::lock_guard lock(mutex_);
    return base().index().size();
}

std::uint64_t TableBuilder::evicted() const {
    const std::lock_guard lock(mutex_);
    return evicted_;
}

std::size_t TableBuilder::bytes() const {
    const std::lock_guard lock(mutex_);
    return base().bytes();
}

const RowMap& TableBuilder::base() const {
    if (!base_) throw InvalidInput("expected a table builder that has rows, got one that " + gone_);
    return *base_;
}

void TableBuilder::spoil(const std::string& reason) {
    const std::lock_guard lock(mutex_);
    if (base_) give_away("was spoilt: " + reason);
}

void TableBuilder::give_away(std::string reason) {
    base_.reset();
    gone_ = std::move(reason);
}

void TableBuilder::evict() {
    const std::uint64_t size = base().index().size();
    if (options_.capacity == 0 || size <= options_.capacity) return;
    for (const std::uint64_t sign : clock_.pick(base().index(), size - options_.capacity)) {
        base().erase(sign);
        ++evicted_;
    }
}

}  // namespace persia
