#include "persia/table.hpp"

namespace persia {

namespace {

// 16 parts: growing one needs a sixteenth of the index, some 1.5 % of the table, twice; and parts of large tables span huge pages.
constexpr unsigned kBasePartsLog2 = 4;

// While it fills, a builder may be over its capacity by one part in this many: so evictions come in bulk.
constexpr std::uint64_t kSlack = 32;

}  // namespace

TableBuilder::TableBuilder(TableOptions options) : options_(options), base_(options.storage, kBasePartsLog2) {}

std::uint64_t TableBuilder::put(const RowBlock& block, Shard shard) {
    const std::lock_guard lock(mutex_);
    const std::uint64_t kept = base_.put(block, shard, 0);
    if (options_.capacity != 0 && rows() > options_.capacity + options_.capacity / kSlack) evict();
    return kept;
}

void TableBuilder::reserve(std::uint64_t rows) { base_.index().reserve(rows); }

void TableBuilder::evict() {
    if (options_.capacity == 0 || rows() <= options_.capacity) return;
    for (const std::uint64_t sign : clock_.pick(base_.index(), rows() - options_.capacity)) {
        base_.erase(sign);
        ++evicted_;
    }
}

}  // namespace persia
