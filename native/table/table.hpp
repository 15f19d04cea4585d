// The sign table of one shard while it serves: snapshots for readers, layers for updates, and a thread that folds layers into
// the base.
//
// Publishing a layer swaps one pointer, so readers wait for no more than that and never see half a layer. The folding thread
// moves the oldest layer into the base, in place, under these invariants:
//   1. It starts only when every snapshot in use holds that layer. So whoever could meet a sign of the layer in the base
//      finds it in the layer first, and never reads a row or an index entry that is being written.
//   2. Once it is done, a snapshot without the layer is published. The layer goes when the last snapshot that holds it does.
//   3. Eviction is a layer of deletions, put under all others, and folded like them.
//   4. Earlier epochs are snapshots too, which no fold waits for: before one, what it overwrites is kept for them in a layer of
//      their own, under their others (cover_earlier). So who reads the past pays for it, and lookups of the present do not.
//   5. The layers of variants are no part of that: they are over all others, and stay there.
// Snapshots are taken apart by the folding thread, so that no reader pays for giving memory back.
//
// Thread safety: every method may be called from any thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "table/eviction.hpp"
#include "table/snapshot.hpp"
#include "table/table_builder.hpp"
#include "table/variants.hpp"

namespace persia {

struct TableStatus {
    std::uint64_t version = 0;
    std::uint64_t base_rows = 0;
    std::map<std::uint32_t, std::uint64_t> base_rows_by_dim;
    std::uint64_t layer_rows = 0;  // rows and deletions that wait to be folded
    std::size_t layers = 0;
    std::uint64_t evicted = 0;  // rows, since the start
    std::size_t snapshots = 0;  // in use, the current one included
    std::size_t base_bytes = 0;
    std::size_t layer_bytes = 0;
    std::uint64_t epoch = 0;                          // the current one; 0: none was begun
    std::uint64_t epoch_low = 0;                      // the oldest one that can be read
    std::size_t retained_epochs = 0;                  // that can be read beside the current one
    std::size_t retained_bytes = 0;                   // of the layers that only these have
    std::size_t retained_most_bytes = 0;              // what these may take
    std::uint64_t epochs_given_up = 0;                // that went only for their memory
    std::map<std::uint64_t, VariantStatus> variants;  // of the current epoch
    std::size_t variant_bytes = 0;                    // of all of them
    std::optional<std::string> fold_error;  // why the last fold failed; its layer stays, and is served from where it is
};

class Table {
  public:
    // Takes the rows out of the builder.
    explicit Table(TableBuilder& builder);
    ~Table();
    Table(const Table&) = delete;
    Table& operator=(const Table&) = delete;

    // The newest version, for as long as the pointer lives. It may outlive the table. Never waits for a fold.
    std::shared_ptr<const Snapshot> pin() const;

    struct Pinned {
        std::shared_ptr<const Snapshot> snapshot;     // null: the table does not have the epoch
        std::uint64_t epoch_low = 0, epoch_high = 0;  // that can be read
    };
    // As pin(), of an epoch; 0: of the current one.
    Pinned pin_epoch(std::uint64_t epoch) const;

    // An epoch before the current one can be read for so many more seconds, as far as memory goes.
    void hold_epoch(std::uint64_t epoch, double seconds) const;

    // Makes the layer the newest, in the current epoch; returns its version. REQUIRES: the layer has this table's row storage
    // (else InvalidInput).
    std::uint64_t publish(Layer&& layer);

    // As publish(), and begins an epoch with it, which is later than the current one. It goes on from the epoch `onto`: the
    // current one, or an earlier one that can be read, which is to go back (else InvalidInput). Epochs can be read for a while
    // when others have begun, as long as they come without gaps. variants: all that there are in the epoch, whatever it goes on
    // from: they go on from those of the current epoch. Their layers are taken also where this throws.
    std::uint64_t begin_epoch(Layer&& layer, std::uint64_t epoch, std::uint64_t onto, std::vector<VariantUpdate> variants = {});

    // Waits until no layer is left, or until `seconds` are over (false). A snapshot that is held without end holds this up.
    bool wait_folded(double seconds) const;

    TableStatus status() const;
    const TableOptions& options() const { return options_; }

  private:
    struct State;
    struct Begun {
        std::uint64_t epoch, onto;
        std::shared_ptr<const Variants> variants;
    };

    std::uint64_t oldest_epoch() const;
    std::uint64_t publish(Layer&& layer, std::optional<Begun> begun);
    std::vector<std::shared_ptr<const Layer>> layers_of(const Begun& begun) const;

    void fold_loop();
    void cover_earlier(const Snapshot& now);
    void fold_oldest(const Snapshot& now);
    void end_fold(const Layer& folded, Base base, std::shared_ptr<Layer> deletions, bool succeeded) noexcept;
    void merge_layers(const Snapshot& now);

    TableOptions options_;
    std::shared_ptr<State> state_;
    EvictionClock clock_;  // the folding thread's
    std::thread folder_;
};

}  // namespace persia
