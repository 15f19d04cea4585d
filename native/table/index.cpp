#include "table/index.hpp"

#include <algorithm>
#include <cassert>
#include <new>
#include <string>

#include "base/error.hpp"
#include "base/pages.hpp"

namespace persia {

namespace {

// How much room a part gets at once. It costs each sign seven moves in its life, all in the order of memory.
constexpr double kGrowth = 1.15;

// Below this a part comes from the heap: whole pages would waste more than the heap's own header.
constexpr std::size_t kMapFrom = 32 * 1024;
constexpr std::size_t kHeapHeader = 80;

std::uint32_t buckets_for(std::uint64_t signs, double load) {
    const double buckets = static_cast<double>(signs) / (kBucketEntries * load) + 1;
    if (buckets > 4e9) throw TooLarge("expected at most 17 billion signs in one part of an index, got more");
    return static_cast<std::uint32_t>(buckets);
}

void store_entry(Bucket& bucket, unsigned i, std::uint64_t sign, std::uint32_t ref) {
    std::atomic_ref(bucket.signs[i]).store(sign, std::memory_order_relaxed);
    std::atomic_ref(bucket.refs[i]).store(ref, std::memory_order_release);
}

std::uint32_t load_ref(Bucket& bucket, unsigned i) { return std::atomic_ref(bucket.refs[i]).load(std::memory_order_relaxed); }

void add_passed(Bucket& bucket, int step) {
    std::atomic_ref<std::uint8_t> passed(bucket.passed);
    const std::uint8_t now = passed.load(std::memory_order_relaxed);
    if (now != 255) passed.store(static_cast<std::uint8_t>(now + step), std::memory_order_relaxed);
}

// Puts a sign that is not in the part into its first free entry from `bucket` on. There is one: the load is below 1.
Entry place(const Part& part, Bucket* bucket, std::uint64_t sign, std::uint32_t ref) {
    for (;;) {
        for (unsigned i = 0; i < kBucketEntries; ++i) {
            if (load_ref(*bucket, i) != kNoRef) continue;
            store_entry(*bucket, i, sign, ref);
            return {bucket, i, ref};
        }
        add_passed(*bucket, 1);
        if (++bucket == part.buckets + part.count) bucket = part.buckets;
    }
}

}  // namespace

struct Index::PartMemory {
    explicit PartMemory(std::uint32_t buckets) : count(buckets) {
        const std::size_t size = std::size_t{buckets} * sizeof(Bucket);
        if (size >= kMapFrom) {
            pages = Pages(size, size >= kHugePage);
            data = reinterpret_cast<Bucket*>(pages.data());
        } else {
            heap.reset(new Bucket[buckets]());
            data = heap.get();
        }
    }

    std::size_t bytes() const { return pages.size() != 0 ? pages.size() : std::size_t{count} * sizeof(Bucket) + kHeapHeader; }

    Pages pages;
    std::unique_ptr<Bucket[]> heap;
    Bucket* data;
    std::uint32_t count;
    std::uint64_t signs = 0;
};

Index::Index(IndexShape shape)
    : shift_(8 - shape.parts_log2), max_load_(shape.max_load), views_(std::size_t{1} << shape.parts_log2),
      parts_(views_.size()) {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
        parts_[i] = std::make_shared<PartMemory>(1);
        views_[i] = {parts_[i]->data, parts_[i]->count};
    }
}

void Index::insert(std::uint64_t sign, std::uint32_t ref, unsigned recency) {
    const std::uint64_t hash = table_hash(sign);
    const std::size_t number = part_number(hash);
    if (const PartMemory& memory = *parts_[number];
        static_cast<double>(memory.signs + 1) > max_load_ * kBucketEntries * memory.count) {
        grow(number, memory.signs + 1);
    }
    const Part part = views_[number];
    const Entry entry = place(part, part.home(hash), sign, ref);
    assert(recency <= 3);
    if (recency > 0) entry.mark_used(3 - recency);
    ++parts_[number]->signs;
}

std::uint32_t Index::remove(std::uint64_t sign) {
    const std::uint64_t hash = table_hash(sign);
    const std::size_t number = part_number(hash);
    const Part part = views_[number];
    Bucket* bucket = part.home(hash);
    const Entry found = part.find(bucket, sign);
    if (found.ref == kNoRef) return kNoRef;
    replace(found, kNoRef);
    const auto bit = static_cast<std::uint8_t>(1U << found.i);
    for (std::uint8_t& used : found.bucket->used) {
        std::atomic_ref(used).fetch_and(static_cast<std::uint8_t>(~bit), std::memory_order_relaxed);
    }
    while (bucket != found.bucket) {
        add_passed(*bucket, -1);
        if (++bucket == part.buckets + part.count) bucket = part.buckets;
    }
    --parts_[number]->signs;
    return found.ref;
}

void Index::reserve(std::uint64_t signs) {
    const std::uint64_t each = signs / parts_.size();
    for (std::size_t i = 0; i < parts_.size(); ++i) {
        const std::uint64_t wanted = parts_[i]->signs + each;
        if (static_cast<double>(wanted) > max_load_ * kBucketEntries * parts_[i]->count) grow(i, wanted);
    }
}

// Home buckets rise with the hash, so the old buckets are read and the new ones written from front to back.
void Index::grow(std::size_t number, std::uint64_t signs) {
    const PartMemory& old = *parts_[number];
    auto memory = std::make_shared<PartMemory>(buckets_for(signs, max_load_ / kGrowth));
    const Part part{memory->data, memory->count};
    for (std::uint32_t b = 0; b < old.count; ++b) {
        Bucket& bucket = old.data[b];
        for (unsigned i = 0; i < kBucketEntries; ++i) {
            const std::uint32_t ref = load_ref(bucket, i);
            if (ref == kNoRef) continue;
            const std::uint64_t sign = bucket.signs[i];
            const Entry entry = place(part, part.home(table_hash(sign)), sign, ref);
            for (unsigned age = 0; age < 3; ++age) {
                const auto used = std::atomic_ref(bucket.used[age]).load(std::memory_order_relaxed);
                entry.bucket->used[age] = static_cast<std::uint8_t>(entry.bucket->used[age] | ((used >> i & 1U) << entry.i));
            }
        }
    }
    memory->signs = old.signs;
    parts_[number] = std::move(memory);
    views_[number] = part;
}

double Index::bytes_per_sign(IndexShape shape) { return sizeof(Bucket) * kGrowth / (kBucketEntries * shape.max_load); }

std::uint64_t Index::size() const {
    std::uint64_t total = 0;
    for (const auto& part : parts_) total += part->signs;
    return total;
}

std::size_t Index::bytes() const {
    std::size_t total = 0;
    for (const auto& part : parts_) total += part->bytes();
    return total;
}

}  // namespace persia
