// One version of a table: a base and the layers over it. A lookup uses one snapshot, so its answer belongs to one version.
//
// Thread safety: all of it may be called from any number of threads, also while later versions are published and folded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "table/row_map.hpp"
#include "table/sign_filter.hpp"

namespace persia {

// A batch of changes, read-only once it is published.
struct Layer {
    explicit Layer(RowStorage storage, IndexShape shape = kLayerShape) : rows(storage, shape) {}

    struct End {
        std::uint64_t sign;
        std::uint64_t seconds;  // since 1970
    };

    // Notes that the sign has no row from here on.
    void add_tombstone(std::uint64_t sign) {
        rows.add_tombstone(sign);
        removes = true;
    }

    // Takes out what it says of these signs, and when their rows end.
    void forget(std::span<const std::uint64_t> signs);

    RowMap rows;
    bool removes = false;              // whether add_tombstone() was called
    std::vector<End> ends;             // of rows with a time to live; of two of one sign, the later; see expiry.hpp
    SignFilter filter;                 // filled when it is published
    std::uint64_t first_snapshot = 0;  // the number of the first snapshot that held it; set when it is published
};

// What a lookup did not find. Such rows count as zeros.
struct Misses {
    std::uint64_t absent = 0;     // signs without a row
    std::uint64_t wrong_dim = 0;  // signs whose row has another dim than was asked for
};

// The same of one run. On the wire as it is: two u32.
struct RunMisses {
    std::uint32_t absent = 0;
    std::uint32_t wrong_dim = 0;
};
static_assert(sizeof(RunMisses) == 8, "misses are sent as they are");

// So many signs, one after the other, of which rows of one dim are wanted.
struct Run {
    std::size_t signs = 0;
    std::uint32_t dim = 0;
};

// What is done with rows that were found.
class RowUser {
  public:
    // The rows of some signs of a run, from its sign `first` on; null where there is none to use. They are there during the
    // call.
    virtual void use(std::size_t run, std::size_t first, std::span<const std::byte* const> rows) = 0;

  protected:
    ~RowUser() = default;
};

// What lies under all layers.
struct Base {
    Base(RowMap all_rows, bool notes_use) : rows(std::move(all_rows)), track_use(notes_use) { measure(); }

    // Takes the figures anew. Only while nobody writes to the rows; whoever wants them later reads the members.
    void measure() {
        size = rows.index().size();
        bytes = rows.bytes();
        by_dim = rows.arena().rows_by_dim();
    }

    RowMap rows;
    bool track_use;  // whether lookups tell the eviction clock what they used
    std::uint64_t size = 0;
    std::size_t bytes = 0;
    std::map<std::uint32_t, std::uint64_t> by_dim;  // rows
};

class Variants;

class Snapshot {
  public:
    // variants: null, as long as there was none.
    Snapshot(std::uint64_t number, std::uint64_t version, std::uint64_t epoch, Base base,
             std::vector<std::shared_ptr<const Layer>> layers, std::shared_ptr<const Variants> variants)
        : number_(number), version_(version), epoch_(epoch), base_(std::move(base)), layers_(std::move(layers)),
          variants_(std::move(variants)) {}

    std::uint64_t version() const { return version_; }
    std::uint64_t epoch() const { return epoch_; }  // 0: of none
    RowStorage storage() const { return base_.rows.arena().storage(); }

    // Looks all signs up in one go, and shows their rows to `user`, in order. REQUIRES: the runs have as many signs as there
    // are, and has_variant(variant). by_run: the misses of each run, or empty where there are none at all; then its memory is
    // not touched. variant: whose rows go before those of all others; 0: of none.
    Misses visit(std::span<const std::uint64_t> signs, std::span<const Run> runs, RowUser& user, std::vector<RunMisses>& by_run,
                 std::uint64_t variant = 0) const;

    // signs (n) -> out (n, dim): a row each, zeros where there is none. REQUIRES: has_variant(variant).
    Misses rows(std::span<const std::uint64_t> signs, std::uint32_t dim, float* out, std::uint64_t variant = 0) const;

    // Whether it can be asked for; 0 always.
    bool has_variant(std::uint64_t variant) const;

    // Whether the sign has a row, of whatever dim.
    bool has(std::uint64_t sign) const;

    // Every sign that has a row, in no order.
    std::vector<std::uint64_t> signs() const;

    std::uint64_t number() const { return number_; }
    const Base& base() const { return base_; }
    const std::vector<std::shared_ptr<const Layer>>& layers() const { return layers_; }
    const std::shared_ptr<const Variants>& variants() const { return variants_; }

  private:
    class Lookup;
    std::span<const std::shared_ptr<const Layer>> own_layers(std::uint64_t variant) const;

    std::uint64_t number_;
    std::uint64_t version_;
    std::uint64_t epoch_;
    Base base_;
    std::vector<std::shared_ptr<const Layer>> layers_;  // newest first
    std::shared_ptr<const Variants> variants_;
};

}  // namespace persia
