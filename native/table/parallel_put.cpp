#include "table/parallel_put.hpp"

#include <algorithm>
#include <map>
#include <new>
#include <span>
#include <utility>
#include <vector>

namespace persia {

namespace {

// How many slots a thread takes from the arena at a time, if it has so many rows.
constexpr std::size_t kSlots = 256;

// One thread's slots. What is left at the end goes back.
class SlotStock {
  public:
    SlotStock(RowArena& arena, std::mutex& lock, std::size_t rows)
        : arena_(arena), lock_(lock), at_a_time_(std::min(rows, kSlots)) {}
    SlotStock(const SlotStock&) = delete;
    SlotStock& operator=(const SlotStock&) = delete;

    ~SlotStock() {
        const std::lock_guard lock(lock_);
        for (const auto& [dim, slots] : slots_) {
            for (const std::uint32_t slot : slots) give_back(slot);
        }
    }

    std::uint32_t allocate(std::uint32_t dim) {
        if (dim != dim_) {
            here_ = &slots_[dim];
            dim_ = dim;
        }
        if (here_->empty()) refill();
        const std::uint32_t slot = here_->back();
        here_->pop_back();
        return slot;
    }

    void release(std::uint32_t slot) {
        const std::lock_guard lock(lock_);
        arena_.release(slot);
    }

  private:
    void refill() {
        std::byte* page = nullptr;
        here_->resize(at_a_time_);
        std::size_t taken = 0;
        try {
            const std::lock_guard lock(lock_);
            page = arena_.next_page(dim_);
            for (; taken < at_a_time_; ++taken) (*here_)[at_a_time_ - 1 - taken] = arena_.allocate(dim_);
        } catch (...) {
            here_->erase(here_->begin(), here_->end() - static_cast<std::ptrdiff_t>(taken));
            if (taken == 0) throw;  // else it is thrown when these are used up
        }
        if (page != nullptr) populate(page, kHugePage);
    }

    void give_back(std::uint32_t slot) noexcept {
        try {
            arena_.give_back(slot);
        } catch (const std::bad_alloc&) {  // it is lost
        }
    }

    RowArena& arena_;
    std::mutex& lock_;
    std::size_t at_a_time_;
    std::map<std::uint32_t, std::vector<std::uint32_t>> slots_;  // per dim, the newest first, which is used last
    std::uint32_t dim_ = 0;
    std::vector<std::uint32_t>* here_ = &slots_[0];  // of dim_
};

// The places in a block of the rows that belong to the shard, by part of the index and within a part in their order.
class ByPart {
  public:
    // Valid until the next call.
    void sort(const Index& index, const RowBlock& block, Shard shard) {
        const std::size_t parts = index.parts();
        part_.clear();
        own_.clear();
        begin_.assign(parts + 1, 0);
        for (std::size_t i = 0; i < block.size(); ++i) {
            const std::uint64_t sign = block.signs[i];
            if (shard.count > 1 && shard_of(sign, shard.count) != shard.index) continue;
            own_.push_back(static_cast<std::uint32_t>(i));
            part_.push_back(static_cast<std::uint32_t>(index.part_of(sign)));
            ++begin_[part_.back() + 1];
        }
        for (std::size_t p = 0; p < parts; ++p) begin_[p + 1] += begin_[p];
        sorted_.resize(own_.size());
        next_.assign(begin_.begin(), begin_.end() - 1);
        for (std::size_t k = 0; k < own_.size(); ++k) sorted_[next_[part_[k]]++] = own_[k];
    }

    std::size_t size() const { return own_.size(); }
    std::size_t parts() const { return begin_.size() - 1; }
    std::span<const std::uint32_t> rows_of(std::size_t part) const {
        return std::span(sorted_).subspan(begin_[part], begin_[part + 1] - begin_[part]);
    }

  private:
    std::vector<std::uint32_t> own_, part_;             // (n) in the order of the block
    std::vector<std::uint32_t> begin_, next_, sorted_;  // (parts + 1), (parts), (n)
};

}  // namespace

std::uint64_t ParallelPut::put(RowMap& map, const RowBlock& block, Shard shard) {
    thread_local ByPart by_part;
    by_part.sort(map.index(), block, shard);
    SlotStock slots(map.arena(), arena_lock_, by_part.size());
    const auto put_part = [&](std::span<const std::uint32_t> rows) {
        // All lines are asked for before the first is needed: a few hundred at a time, of which none waits for another.
        for (const std::uint32_t i : rows) __builtin_prefetch(map.index().home(block.signs[i]));
        for (const std::uint32_t i : rows) {
            store_row(map.arena().storage(), block.values[i], block.dims[i],
                      map.place_in(slots, block.signs[i], block.dims[i], block.recency.empty() ? 0 : block.recency[i]));
        }
    };
    thread_local std::vector<std::size_t> left;
    left.clear();
    for (std::size_t part = 0; part < by_part.parts(); ++part) {
        if (!by_part.rows_of(part).empty()) left.push_back(part);
    }
    // A part that another thread is in comes later.
    while (!left.empty()) {
        const std::size_t before = left.size();
        std::erase_if(left, [&](std::size_t part) {
            const std::unique_lock lock(part_locks_[part], std::try_to_lock);
            if (lock.owns_lock()) put_part(by_part.rows_of(part));
            return lock.owns_lock();
        });
        if (left.size() != before) continue;
        const std::lock_guard lock(part_locks_[left.back()]);
        put_part(by_part.rows_of(left.back()));
        left.pop_back();
    }
    return by_part.size();
}

}  // namespace persia
