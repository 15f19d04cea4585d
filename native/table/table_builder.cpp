#include "table/table_builder.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace persia {

namespace {

// While it fills, a builder may be over its capacity by one part in this many: so evictions come in bulk.
constexpr std::uint64_t kSlack = 32;

}  // namespace

TableBuilder::TableBuilder(TableOptions options)
    : options_(options), parallel_put_(std::size_t{1} << kBaseShape.parts_log2),
      base_(std::in_place, options.storage, kBaseShape) {
    if (options.max_layers == 0) throw InvalidInput("expected at least 1 layer before layers are merged, got 0");
}

std::uint64_t TableBuilder::put(const RowBlock& block, Shard shard) {
    std::uint64_t kept = 0;
    {
        const auto together = gate_.for_rows();
        kept = parallel_put_.put(base(), block, shard);
        at_most_ += kept;
    }
    const std::uint64_t room = options_.capacity + options_.capacity / kSlack;
    if (options_.capacity == 0 || at_most_ <= room) return kept;
    const auto alone = gate_.alone();
    if (base().index().size() > room) evict();
    at_most_ = base().index().size();
    return kept;
}

void TableBuilder::reserve(std::uint64_t rows) {
    const auto alone = gate_.alone();
    const std::uint64_t room = options_.capacity == 0 ? rows : options_.capacity + options_.capacity / kSlack;
    base().index().reserve(std::min(rows, room));
}

std::uint64_t TableBuilder::rows() const {
    const auto alone = gate_.alone();
    return base().index().size();
}

std::uint64_t TableBuilder::evicted() const {
    const auto alone = gate_.alone();
    return evicted_;
}

std::size_t TableBuilder::bytes() const {
    const auto alone = gate_.alone();
    return base().bytes();
}

const RowMap& TableBuilder::base() const {
    if (!base_) throw InvalidInput("expected a table builder that has rows, got one that " + gone_);
    return *base_;
}

void TableBuilder::spoil(const std::string& reason) {
    const auto alone = gate_.alone();
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
        base().forget(sign);
        ++evicted_;
    }
}

}  // namespace persia
