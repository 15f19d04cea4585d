#include "table/eviction.hpp"

#include <algorithm>
#include <atomic>

namespace persia {

namespace {

constexpr unsigned kAges = 3;

std::uint8_t used(Bucket& bucket, unsigned age) { return std::atomic_ref(bucket.used[age]).load(std::memory_order_relaxed); }

void grow_older(Bucket& bucket) {
    const std::uint8_t now = std::atomic_ref(bucket.used[0]).exchange(0, std::memory_order_relaxed);
    std::atomic_ref(bucket.used[2]).store(used(bucket, 1), std::memory_order_relaxed);
    std::atomic_ref(bucket.used[1]).store(now, std::memory_order_relaxed);
}

}  // namespace

std::vector<std::uint64_t> EvictionClock::pick(const Index& index, std::uint64_t wanted) {
    wanted = std::min(wanted, index.size());
    std::vector<std::uint64_t> picked;
    picked.reserve(wanted);
    const std::size_t parts = index.parts();
    std::size_t sorted = 0;  // how many at the front of `picked`, those of earlier rounds, are in order
    // After kAges rounds every row has been seen at every age but for those that lookups keep using: one more takes these too.
    for (std::size_t step = 0; picked.size() < wanted && step < parts * (kAges + 1); ++step) {
        const bool last_round = step >= parts * kAges;
        if (step % parts == 0) {
            std::sort(picked.begin(), picked.end());
            sorted = picked.size();
        }
        const Part part = index.part_at(hand_ % parts);
        for (Bucket* bucket = part.buckets; bucket != part.buckets + part.count; ++bucket) {
            const unsigned busy = last_round ? 0U : unsigned{used(*bucket, 0)} | used(*bucket, 1) | used(*bucket, 2);
            for (unsigned i = 0; i < kBucketEntries && picked.size() < wanted; ++i) {
                if ((busy >> i & 1U) != 0 || std::atomic_ref(bucket->refs[i]).load(std::memory_order_relaxed) == kNoRef)
                    continue;
                const std::uint64_t sign = std::atomic_ref(bucket->signs[i]).load(std::memory_order_relaxed);
                // The hand was here before, and what it picked then still stands in the index.
                if (std::binary_search(picked.data(), picked.data() + sorted, sign)) continue;
                picked.push_back(sign);
            }
        }
        if (picked.size() == wanted) break;  // the hand stays: this part may hold more of the oldest
        for (Bucket* bucket = part.buckets; bucket != part.buckets + part.count; ++bucket) grow_older(*bucket);
        ++hand_;
    }
    return picked;
}

}  // namespace persia
