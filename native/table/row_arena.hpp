// Where rows lie: chunks of one dim each, so that a slot number alone tells a row's address and dim.
//
// Thread safety: one writer. Readers may call row() and dim() at the same time for slots whose allocation happened before
// (by the publication of a snapshot); chunks never move while the arena lives.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/pages.hpp"
#include "table/row_storage.hpp"

namespace persia {

class RowArena {
  public:
    // 2^15 rows of dim 16 in f32 are one huge page. A slot is chunk << 15 | row, in 32 bits less the two marks of Index.
    static constexpr std::uint32_t kChunkRowsLog2 = 15;
    static constexpr std::uint32_t kChunkRows = 1U << kChunkRowsLog2;
    static constexpr std::uint32_t kMaxChunks = (1U << (32 - kChunkRowsLog2)) - 1;

    explicit RowArena(RowStorage storage);

    // A slot for a row of 1 <= dim <= kMaxDim. Throws TooLarge when 2^32 rows, or the memory, are used up.
    std::uint32_t allocate(std::uint32_t dim);

    // Takes a slot back; the next allocate(dim) reuses it.
    void release(std::uint32_t slot);

    // As release(), for a slot that nothing was written to: the newest first, they leave nothing behind.
    void give_back(std::uint32_t slot);

    // A huge page that new rows of this dim will soon be in, told once, or null. For several threads that fill the arena: one
    // of them is to populate it, or all come to it at a time, and the system clears one for each and throws all but one away.
    std::byte* next_page(std::uint32_t dim);

    std::byte* row(std::uint32_t slot) const {
        const std::uint64_t chunk = chunk_table()[slot >> kChunkRowsLog2];
        return reinterpret_cast<std::byte*>(chunk & kAddress) +
               row_bytes(storage_, static_cast<std::uint32_t>(chunk >> kDimShift)) * (slot & (kChunkRows - 1));
    }

    std::uint32_t dim(std::uint32_t slot) const {
        return static_cast<std::uint32_t>(chunk_table()[slot >> kChunkRowsLog2] >> kDimShift);
    }

    RowStorage storage() const { return storage_; }

    // How many rows of each dim there are.
    std::map<std::uint32_t, std::uint64_t> rows_by_dim() const;

    // Memory that rows, free slots and chunk table occupy, in bytes.
    std::size_t bytes() const;

  private:
    // An entry of the chunk table: the address in the low 48 bits, the dim above.
    static constexpr unsigned kDimShift = 48;
    static constexpr std::uint64_t kAddress = (std::uint64_t{1} << kDimShift) - 1;

    // The memory of all rows of one dim. Slabs hold whole chunks side by side, so that huge pages can span them.
    struct DimRows {
        std::vector<Pages> slabs;
        std::size_t slab_used = 0;    // bytes of the last slab that chunks have been cut from
        std::size_t slab_told = 0;    // and how many of them next_page() has told
        std::uint32_t next_slot = 0;  // in it
        std::uint32_t chunk_rows_left = 0;
        std::vector<std::uint32_t> free_slots;
        std::uint64_t rows = 0;
    };

    std::uint64_t* chunk_table() const { return reinterpret_cast<std::uint64_t*>(table_.data()); }
    void add_chunk(std::uint32_t dim, DimRows& rows);

    RowStorage storage_;
    Pages table_;  // kMaxChunks entries of address space, touched as chunks come
    std::uint32_t chunks_ = 0;
    std::map<std::uint32_t, DimRows> dims_;
};

}  // namespace persia
