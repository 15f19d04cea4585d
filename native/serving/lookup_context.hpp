// What a shard's lookups are answered from, and what is counted of them. Those who load and stop the shard say it here.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "serving/call_counts.hpp"
#include "serving/readable_epochs.hpp"
#include "serving/variant_counts.hpp"
#include "table/feature_counts.hpp"
#include "table/shard_request.hpp"
#include "table/table.hpp"
#include "wire/lookup.hpp"

namespace persia::serving {

// Thread safety: any thread may call all of it.
class LookupContext {
  public:
    // server_start: of answers. max_numbers: of four bytes, of an answer. bounds: seconds, ascending, of the histogram of what
    // lookups take. features: the names of those that are counted each.
    LookupContext(const wire::ShardPlace& place, std::uint64_t server_start, std::size_t max_numbers,
                  std::vector<double> bounds, std::vector<std::string> features);

    // From now on, lookups are answered from the table, which was loaded from that checkpoint (0: from none). REQUIRES: the
    // table lives as long as this.
    void open(const Table& table, std::uint64_t checkpoint_id) {
        checkpoint_id_.store(checkpoint_id, std::memory_order_relaxed);
        table_.store(&table, std::memory_order_release);
    }
    // The rows of that epoch, and of later ones, are of another checkpoint. Said before the epoch can be read, and again if it
    // could not be built.
    void add_checkpoint(std::uint64_t epoch, std::uint64_t checkpoint_id);
    // From now on, they are not.
    void close() { table_.store(nullptr, std::memory_order_release); }
    // Null: there is none to answer from.
    const Table* table() const { return table_.load(std::memory_order_acquire); }

    // What the shard does, for those whose lookups it refuses meanwhile: `loading /checkpoint`.
    void set_state(std::string state);
    std::string state() const;

    // Said before the newest of these epochs can be read.
    void set_readable(ReadableEpochs readable);
    std::shared_ptr<const ReadableEpochs> readable() const;

    const wire::ShardPlace& place() const { return place_; }
    std::uint64_t server_start() const { return server_start_; }
    std::size_t max_numbers() const { return max_numbers_; }
    // That the rows of an epoch are of; epoch 0: of no epoch. REQUIRES: table() was not null.
    std::uint64_t checkpoint_of(std::uint64_t epoch) const {
        if (!has_changed_.load(std::memory_order_acquire)) return checkpoint_id_.load(std::memory_order_relaxed);
        return changed_checkpoint_of(epoch);
    }

    // A lookup that was answered. by_part: as answer() gives them.
    void count(std::span<const RequestPart> parts, const Misses& misses, std::span<const RunMisses> by_part);

    struct Totals {
        std::uint64_t lookups = 0;  // that were answered
        std::uint64_t signs = 0;
        Misses misses;
    };
    Totals totals() const;
    CallCounts& calls() { return calls_; }
    VariantCounts& variants() { return variants_; }
    const FeatureCounts& features() const { return features_; }

  private:
    struct Change {
        std::uint64_t epoch, checkpoint_id;
    };

    std::uint64_t changed_checkpoint_of(std::uint64_t epoch) const;

    const wire::ShardPlace place_;
    const std::uint64_t server_start_;
    const std::size_t max_numbers_;
    std::atomic<const Table*> table_{nullptr};
    std::atomic<std::uint64_t> checkpoint_id_{0};
    std::atomic<bool> has_changed_{false};  // since the table was opened
    std::atomic<std::uint64_t> lookups_{0}, signs_{0}, absent_{0}, wrong_dim_{0};
    CallCounts calls_;
    VariantCounts variants_;
    FeatureCounts features_;
    mutable std::mutex mutex_;
    std::vector<Change> checkpoints_;  // ascending
    std::string state_ = "starting";
    std::shared_ptr<const ReadableEpochs> readable_ = std::make_shared<const ReadableEpochs>();
};

}  // namespace persia::serving
