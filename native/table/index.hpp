// The index of a table: sign -> 32-bit reference, in buckets of one cache line.
//
// A sign hashes to a part and, in it, to a home bucket; when that is full it goes to the next one, and every full bucket that
// it passes counts it, so that a search ends at the first bucket that nothing has passed. Parts grow one
// by one, by 15 %: so the load stays within 15 % of the highest, at any row count, and growing needs the memory of one part.
//
// Thread safety: one writer. find() may run beside it for every sign that the writer does not touch meanwhile: entries change
// through atomics, and a part that grows is replaced in the writer's copy of the Index while readers keep theirs (copying an
// Index shares its parts). Snapshots arrange this; see table.hpp.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/hash.hpp"

namespace persia {

constexpr unsigned kBucketEntries = 5;

struct alignas(64) Bucket {
    std::uint64_t signs[kBucketEntries];
    std::uint32_t refs[kBucketEntries];  // kNoRef: the entry is free, whatever its sign says
    std::uint8_t passed;                 // how many signs went past this bucket when it was full; 255 is "at least"
    std::uint8_t used[3];                // bit i of used[0]: entry i was used since the clock's hand came by; [1], [2]: before
};
static_assert(sizeof(Bucket) == 64, "a bucket is a cache line");

constexpr std::uint32_t kNoRef = 0;                 // all-zero memory is an empty bucket
constexpr std::uint32_t kDeletedRef = 0xffffffffU;  // in a layer: this sign has no row from here on
constexpr std::uint32_t ref_of_slot(std::uint32_t slot) { return slot + 1; }
constexpr std::uint32_t slot_of_ref(std::uint32_t ref) { return ref - 1; }

struct Entry {
    Bucket* bucket = nullptr;
    unsigned i = 0;
    std::uint32_t ref = kNoRef;

    // Notes that the row was asked for, `age` rounds of the clock ago. Any thread.
    void mark_used(unsigned age = 0) const {
        const auto bit = static_cast<std::uint8_t>(1U << i);
        std::atomic_ref<std::uint8_t> used(bucket->used[age]);
        if ((used.load(std::memory_order_relaxed) & bit) == 0) used.fetch_or(bit, std::memory_order_relaxed);
    }
};

// The buckets of one part, as a reader sees them.
struct Part {
    Bucket* buckets = nullptr;
    std::uint32_t count = 0;

    Bucket* home(std::uint64_t hash) const { return buckets + (((hash >> 24) & 0xffffffffU) * count >> 32); }

    Bucket* after(Bucket* bucket) const { return bucket + 1 == buckets + count ? buckets : bucket + 1; }

    // The entry of `sign`, searched from `bucket` on; ref == kNoRef if there is none.
    Entry find(Bucket* bucket, std::uint64_t sign) const {
        for (std::uint32_t probes = 0; probes < count; ++probes) {
            if (const Entry found = look(bucket, sign); found.ref != kNoRef) return found;
            if (!was_passed(bucket)) break;
            bucket = after(bucket);
        }
        return {};
    }

    // The entry of `sign` if it is in this very bucket.
    static Entry look(Bucket* bucket, std::uint64_t sign) {
        // All five at once: where a sign stands in its bucket is a coin that no branch predictor can call.
        unsigned equal = 0;
#pragma GCC unroll 5
        for (unsigned i = 0; i < kBucketEntries; ++i) {
            const bool same = std::atomic_ref(bucket->signs[i]).load(std::memory_order_relaxed) == sign;
            equal |= static_cast<unsigned>(same) << i;
        }
        for (; equal != 0; equal &= equal - 1) {
            const auto i = static_cast<unsigned>(std::countr_zero(equal));
            const std::uint32_t ref = std::atomic_ref(bucket->refs[i]).load(std::memory_order_acquire);
            // The writer may have put another sign into this entry since: the reference is only ours if the sign still is.
            const bool still = std::atomic_ref(bucket->signs[i]).load(std::memory_order_relaxed) == sign;
            if (ref != kNoRef && still) return {bucket, i, ref};
        }
        return {};
    }

    static bool was_passed(Bucket* bucket) { return std::atomic_ref(bucket->passed).load(std::memory_order_relaxed) != 0; }
};

// How an index spends memory.
struct IndexShape {
    unsigned parts_log2;  // 2^parts_log2 parts, at most 2^8: the more, the less is copied at a time when it grows
    double max_load;      // signs per entry: the lower, the fewer searches go on to a second bucket
};

// For a table: growing one part needs a sixteenth of the index, some 1.5 % of the table, twice; 10 to 15 % of the signs lie
// beyond their home bucket.
constexpr IndexShape kBaseShape{4, 0.84};

// For a layer, which lives shortly and is searched before the base, so that it must add little: 2 % of its signs do.
constexpr IndexShape kLayerShape{0, 0.5};

class Index {
  public:
    explicit Index(IndexShape shape);

    Part part(std::uint64_t hash) const { return views_[part_number(hash)]; }

    // The part that holds a sign. Writers of different parts do not meet, but for reserve(), size() and bytes().
    std::size_t part_of(std::uint64_t sign) const { return part_number(table_hash(sign)); }

    Entry find(std::uint64_t sign) const {
        const std::uint64_t hash = table_hash(sign);
        const Part part = this->part(hash);
        return part.find(part.home(hash), sign);
    }

    // Adds a sign that is not there. `recency` is what the eviction clock starts from: 3 used just now .. 0 not for long.
    // Throws TooLarge if memory is used up, and then has changed nothing.
    void insert(std::uint64_t sign, std::uint32_t ref, unsigned recency);

    // Sets the reference of a sign that is there.
    static void replace(const Entry& entry, std::uint32_t ref) {
        std::atomic_ref(entry.bucket->refs[entry.i]).store(ref, std::memory_order_release);
    }

    // Removes a sign; returns the reference that it had, or kNoRef.
    std::uint32_t remove(std::uint64_t sign);

    // The line where the search for a sign begins, for __builtin_prefetch. Not a method that fetches it: gcc takes such a one
    // for a function without effect, and leaves its calls out.
    const Bucket* home(std::uint64_t sign) const {
        const std::uint64_t hash = table_hash(sign);
        return part(hash).home(hash);
    }

    // Makes room for `signs` more at once, where it is known.
    void reserve(std::uint64_t signs);

    // At the lowest load that a growing part has.
    static double bytes_per_sign(IndexShape shape);

    std::uint64_t size() const;  // signs
    std::size_t bytes() const;   // memory
    std::size_t parts() const { return views_.size(); }
    Part part_at(std::size_t i) const { return views_[i]; }

    // f(entry, sign) for every entry, in no order.
    template <class F>
    void for_each(F f) const {
        for (const Part& part : views_) {
            for (Bucket* bucket = part.buckets; bucket != part.buckets + part.count; ++bucket) {
                for (unsigned i = 0; i < kBucketEntries; ++i) {
                    const std::uint32_t ref = std::atomic_ref(bucket->refs[i]).load(std::memory_order_acquire);
                    if (ref == kNoRef) continue;
                    f(Entry{bucket, i, ref}, std::atomic_ref(bucket->signs[i]).load(std::memory_order_relaxed));
                }
            }
        }
    }

  private:
    struct PartMemory;

    std::size_t part_number(std::uint64_t hash) const { return hash >> 56 >> shift_; }
    void grow(std::size_t number, std::uint64_t signs);

    unsigned shift_;
    double max_load_;
    std::vector<Part> views_;
    std::vector<std::shared_ptr<PartMemory>> parts_;
};

}  // namespace persia
