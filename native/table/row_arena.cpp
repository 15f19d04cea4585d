#include "table/row_arena.hpp"

#include <algorithm>
#include <string>

#include "base/error.hpp"

namespace persia {

namespace {

// A huge page comes whole, so one per dim may stand empty: only where it is a small part of what is there already.
constexpr std::size_t kFirstSlab = std::size_t{24} << 20;
constexpr std::size_t kNextSlab = std::size_t{32} << 20;

// How long before it is needed a page is told: a page that is brought in early and stays empty costs memory, but rarely so.
constexpr std::size_t kAhead = std::size_t{256} << 10;

}  // namespace

RowArena::RowArena(RowStorage storage) : storage_(storage), table_(kMaxChunks * sizeof(std::uint64_t)) {}

std::uint32_t RowArena::allocate(std::uint32_t dim) {
    if (dim == 0 || dim > kMaxDim) throw InvalidInput("expected a dim of 1 to 65535, got " + std::to_string(dim));
    DimRows& rows = dims_[dim];
    if (!rows.free_slots.empty()) {
        const std::uint32_t slot = rows.free_slots.back();
        rows.free_slots.pop_back();
        ++rows.rows;
        return slot;
    }
    if (rows.chunk_rows_left == 0) add_chunk(dim, rows);
    --rows.chunk_rows_left;
    ++rows.rows;
    return rows.next_slot++;
}

std::byte* RowArena::next_page(std::uint32_t dim) {
    const auto found = dims_.find(dim);
    if (found == dims_.end() || found->second.slabs.empty() || !found->second.slabs.back().huge()) return nullptr;
    DimRows& rows = found->second;
    const Pages& slab = rows.slabs.back();
    const std::size_t used = rows.slab_used - row_bytes(storage_, dim) * rows.chunk_rows_left;
    const std::size_t page = (used + kAhead) / kHugePage * kHugePage;
    if (page < std::max(used, rows.slab_told) || page >= slab.size()) return nullptr;
    rows.slab_told = page + kHugePage;
    return slab.data() + page;
}

void RowArena::release(std::uint32_t slot) {
    DimRows& rows = dims_.at(dim(slot));
    --rows.rows;
    rows.free_slots.push_back(slot);  // where no memory is left for it the slot is lost, but not counted
}

void RowArena::give_back(std::uint32_t slot) {
    DimRows& rows = dims_.at(dim(slot));
    if (slot + 1 != rows.next_slot || rows.chunk_rows_left == kChunkRows) return release(slot);
    --rows.rows;
    --rows.next_slot;
    ++rows.chunk_rows_left;
}

std::map<std::uint32_t, std::uint64_t> RowArena::rows_by_dim() const {
    std::map<std::uint32_t, std::uint64_t> counts;
    for (const auto& [dim, rows] : dims_) {
        if (rows.rows != 0) counts[dim] = rows.rows;
    }
    return counts;
}

void RowArena::add_chunk(std::uint32_t dim, DimRows& rows) {
    if (chunks_ == kMaxChunks) throw TooLarge("expected at most 4294934528 rows in one table, got more");
    const std::size_t bytes = row_bytes(storage_, dim) * kChunkRows;
    if (rows.slabs.empty() || rows.slab_used + bytes > rows.slabs.back().size()) {
        const bool first = rows.slabs.empty();
        const std::size_t wanted = first ? kFirstSlab : kNextSlab;
        rows.slabs.emplace_back(std::max(bytes, wanted / bytes * bytes), !first);
        rows.slab_used = rows.slab_told = 0;
    }
    std::byte* chunk = rows.slabs.back().data() + rows.slab_used;
    rows.slab_used += bytes;
    chunk_table()[chunks_] = reinterpret_cast<std::uint64_t>(chunk) | std::uint64_t{dim} << kDimShift;
    rows.next_slot = chunks_ << kChunkRowsLog2;
    rows.chunk_rows_left = kChunkRows;
    ++chunks_;
}

std::size_t RowArena::bytes() const {
    std::size_t total = table_.resident(chunks_ * sizeof(std::uint64_t));
    for (const auto& [dim, rows] : dims_) {
        const std::size_t unused = row_bytes(storage_, dim) * rows.chunk_rows_left;
        for (const Pages& slab : rows.slabs) {
            const bool last = &slab == &rows.slabs.back();
            total += slab.resident(last ? rows.slab_used - unused : slab.size());
        }
        total += rows.free_slots.capacity() * sizeof(std::uint32_t);
    }
    return total;
}

}  // namespace persia
