#include "table/expiry.hpp"

#include <algorithm>

namespace persia {

namespace {

// An index has room for 32 bits, of which two values have a meaning of their own: what ends in 1970's first second is over in
// any case, and what ends after February 2106 is taken to end then.
std::uint32_t as_ref(std::uint64_t end) {
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(end, 1, kDeletedRef - 1));
}

}  // namespace

void Expiry::set_one(std::uint64_t sign, std::uint32_t end) {
    if (const Entry found = ends_.find(sign); found.ref != kNoRef) {
        Index::replace(found, end);
    } else {
        ends_.insert(sign, end, 0);
    }
    earliest_ = std::min(earliest_, end);
}

void Expiry::set(std::span<const std::uint64_t> signs, std::span<const std::uint64_t> ends, Shard shard) {
    for (std::size_t i = 0; i < signs.size(); ++i) {
        if (shard.count > 1 && shard_of(signs[i], shard.count) != shard.index) continue;
        set_one(signs[i], as_ref(ends[i]));
    }
}

Gone Expiry::follow(Layer& layer, const Snapshot& before, std::uint64_t now) {
    Gone gone;
    if (!layer.removes && layer.ends.empty() && ends_.size() == 0) return gone;
    // What can fail for want of memory comes first: a layer that is tried again then finds its rows' ends as they were or as
    // they will be.
    for (const Layer::End& end : layer.ends) {
        const Entry found = layer.rows.index().find(end.sign);
        if (found.ref != kNoRef && found.ref != kDeletedRef) set_one(end.sign, as_ref(end.seconds));
    }
    std::vector<std::uint64_t> named;
    named.reserve(layer.ends.size());
    for (const Layer::End& end : layer.ends) named.push_back(end.sign);
    std::sort(named.begin(), named.end());
    layer.rows.index().for_each([&](const Entry& entry, std::uint64_t sign) {
        if (entry.ref == kDeletedRef && before.has(sign)) ++gone.deleted;
        if (ends_.size() == 0) return;
        const bool has_end = entry.ref != kDeletedRef && std::binary_search(named.begin(), named.end(), sign);
        if (!has_end) ends_.remove(sign);
    });
    for (const std::uint64_t sign : named) {
        const Entry end = ends_.find(sign);
        if (end.ref == kNoRef || end.ref > now) continue;
        if (before.has(sign)) ++gone.expired;
        layer.add_tombstone(sign);
        ends_.remove(sign);
    }
    layer.ends = {};
    return gone;
}

std::vector<std::uint64_t> Expiry::signs() const {
    std::vector<std::uint64_t> all;
    all.reserve(ends_.size());
    ends_.for_each([&](const Entry&, std::uint64_t sign) { all.push_back(sign); });
    return all;
}

std::vector<std::uint64_t> Expiry::take_ended(std::uint64_t now) {
    std::vector<std::uint64_t> ended;
    if (ends_.size() == 0 || earliest_ > now) return ended;
    std::uint32_t earliest = kDeletedRef;
    ends_.for_each([&](const Entry& entry, std::uint64_t sign) {
        if (entry.ref <= now) {
            ended.push_back(sign);
        } else {
            earliest = std::min(earliest, entry.ref);
        }
    });
    for (const std::uint64_t sign : ended) ends_.remove(sign);
    earliest_ = earliest;
    return ended;
}

}  // namespace persia
