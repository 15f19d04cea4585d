#include "table/table.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace persia {

namespace {

using Layers = std::vector<std::shared_ptr<const Layer>>;

// How far the fold looks ahead for the index lines that it will write, and then for the rows.
constexpr std::size_t kAhead = 128;
constexpr std::size_t kRowsAhead = 64;

constexpr int kFoldNiceness = 10;

// The table is being destroyed: what was begun need not be finished.
class Stopped : public std::exception {};

// Applies what a layer says to the base (deletions forget) or to another layer (deletions stay). Throws Stopped soon after
// `stopping` is set, so that nobody who destroys a table waits for a long fold.
void apply(const Layer& layer, RowMap& to, bool keep_deletions, const std::atomic<bool>& stopping) {
    const RowArena& arena = layer.rows.arena();
    struct Change {
        std::uint64_t sign;
        std::uint32_t ref;
    };
    Change ahead[kAhead];
    std::size_t seen = 0;
    const auto apply_one = [&](const Change& change) {
        if (change.ref == kDeletedRef) {
            if (keep_deletions) return to.add_tombstone(change.sign);
            to.forget(change.sign);
            return;
        }
        const std::uint32_t slot = slot_of_ref(change.ref);
        const std::uint32_t dim = arena.dim(slot);
        std::memcpy(to.place(change.sign, dim, 3), arena.row(slot), row_bytes(arena.storage(), dim));
    };
    // The rows that it will copy, and where to. Entries come in the order of the base's index, rows in none.
    const auto fetch_rows = [&](const Change& change) {
        if (change.ref == kDeletedRef) return;
        __builtin_prefetch(arena.row(slot_of_ref(change.ref)));
        const Entry found = to.index().find(change.sign);
        if (found.ref != kNoRef && found.ref != kDeletedRef) __builtin_prefetch(to.arena().row(slot_of_ref(found.ref)), 1);
    };
    layer.rows.index().for_each([&](const Entry& entry, std::uint64_t sign) {
        if (seen % 1024 == 0 && stopping.load(std::memory_order_relaxed)) throw Stopped();
        __builtin_prefetch(to.index().home(sign));
        Change& turn = ahead[seen % kAhead];
        if (seen >= kAhead) apply_one(turn);
        if (seen >= kRowsAhead) fetch_rows(ahead[(seen - kRowsAhead) % kAhead]);
        turn = {sign, entry.ref};
        ++seen;
    });
    for (std::size_t i = seen < kAhead ? 0 : seen - kAhead; i < seen; ++i) apply_one(ahead[i % kAhead]);
}

}  // namespace

// Shared with the snapshots, which may outlive the table.
struct Table::State {
    mutable std::mutex mutex;
    mutable std::condition_variable changed;
    std::shared_ptr<const Snapshot> current;
    std::set<std::uint64_t> in_use;                     // the numbers of all living snapshots
    std::vector<std::unique_ptr<const Snapshot>> dead;  // to be taken apart by the folding thread
    std::uint64_t next_number = 0;
    std::uint64_t evicted = 0;
    std::uint64_t failed_at = ~std::uint64_t{0};  // the snapshot that was current when a fold failed: wait for another
    std::optional<std::string> fold_error;
    std::atomic<bool> stopping{false};

    // REQUIRES: the mutex is held. Returns the snapshot that was current, to be dropped without the mutex.
    [[nodiscard]] static std::shared_ptr<const Snapshot> install(const std::shared_ptr<State>& state, std::uint64_t version,
                                                                 Base base, Layers layers) noexcept {
        const std::uint64_t number = state->next_number++;
        state->in_use.insert(number);
        std::shared_ptr<const Snapshot> next(new Snapshot(number, version, std::move(base), std::move(layers)),
                                             [state](const Snapshot* last) { bury(*state, last); });
        std::swap(state->current, next);
        state->changed.notify_all();
        return next;
    }

    static void bury(State& state, const Snapshot* snapshot) noexcept {
        std::unique_ptr<const Snapshot> owned(snapshot);
        const std::lock_guard lock(state.mutex);
        state.in_use.erase(snapshot->number());
        if (!state.stopping) state.dead.push_back(std::move(owned));
        state.changed.notify_all();
    }

    bool may_try() const { return failed_at != current->number(); }

    bool can_fold() const {
        return may_try() && !current->layers().empty() && *in_use.begin() >= current->layers().back()->first_snapshot;
    }

    bool must_merge(std::size_t max_layers) const { return may_try() && current->layers().size() > max_layers; }
};

Table::Table(TableBuilder& builder) : options_(builder.options_), state_(std::make_shared<State>()) {
    const auto alone = builder.gate_.alone();
    builder.evict();
    // The thread first, and held up by the mutex: where the system has none left, the builder keeps its rows.
    const std::lock_guard lock(state_->mutex);
    try {
        folder_ = std::thread([this] { fold_loop(); });
    } catch (const std::system_error& error) {
        throw TooLarge(std::string("expected a thread for the table, the system has none left: ") + error.what());
    }
    Base base(std::move(builder.base()), options_.capacity != 0);
    builder.give_away("has become a table");
    state_->evicted = builder.evicted_;
    static_cast<void>(State::install(state_, 0, std::move(base), {}));
}

Table::~Table() {
    {
        const std::lock_guard lock(state_->mutex);
        state_->stopping = true;
        state_->changed.notify_all();
    }
    folder_.join();
    std::shared_ptr<const Snapshot> last;
    std::vector<std::unique_ptr<const Snapshot>> dead;
    const std::lock_guard lock(state_->mutex);
    last = std::exchange(state_->current, nullptr);
    dead.swap(state_->dead);
}

std::shared_ptr<const Snapshot> Table::pin() const {
    const std::lock_guard lock(state_->mutex);
    return state_->current;
}

std::uint64_t Table::publish(Layer&& layer) {
    if (layer.rows.arena().storage() != options_.storage) throw InvalidInput("expected a layer with the table's row storage");
    layer.filter.fill(layer.rows.index());
    std::shared_ptr<const Snapshot> before;
    const std::lock_guard lock(state_->mutex);
    const Snapshot& current = *state_->current;
    Base base = current.base();
    Layers layers(current.layers().size() + 1);
    std::copy(current.layers().begin(), current.layers().end(), layers.begin() + 1);
    // Last of what may find no memory left: until here the layer is the caller's.
    auto added = std::make_shared<Layer>(std::move(layer));
    added->first_snapshot = state_->next_number;
    layers.front() = std::move(added);
    const std::uint64_t version = current.version() + 1;
    before = State::install(state_, version, std::move(base), std::move(layers));
    return version;
}

bool Table::wait_folded(double seconds) const {
    constexpr double kLongest = 1e9;  // the clock counts nanoseconds in 64 bits
    std::unique_lock lock(state_->mutex);
    return state_->changed.wait_for(lock, std::chrono::duration<double>(seconds > 0 ? std::min(seconds, kLongest) : 0),
                                    [&] { return state_->current->layers().empty(); });
}

TableStatus Table::status() const {
    TableStatus status;
    std::shared_ptr<const Snapshot> now;
    {
        const std::lock_guard lock(state_->mutex);
        now = state_->current;
        status.evicted = state_->evicted;
        status.snapshots = state_->in_use.size();
        status.fold_error = state_->fold_error;
    }
    status.version = now->version();
    status.base_rows = now->base().size;
    status.base_bytes = now->base().bytes;
    status.base_rows_by_dim = now->base().by_dim;
    status.layers = now->layers().size();
    for (const auto& layer : now->layers()) {
        status.layer_rows += layer->rows.index().size();
        status.layer_bytes += layer->rows.bytes() + layer->filter.bytes();
    }
    return status;
}

void Table::fold_loop() {
    // Gets the thread's memory for exceptions now: where none is left later, throwing the first one would end the process.
    [[maybe_unused]] const volatile int none = std::uncaught_exceptions();  // volatile, or the call would be left out
    // Lookups go first where processors are short; nobody waits for a fold. On Linux a priority is a thread's own.
    const auto thread = static_cast<id_t>(gettid());
    setpriority(PRIO_PROCESS, thread, getpriority(PRIO_PROCESS, thread) + kFoldNiceness);
    State& state = *state_;
    for (;;) {
        std::vector<std::unique_ptr<const Snapshot>> dead;
        std::shared_ptr<const Snapshot> now;
        bool merge = false;
        {
            std::unique_lock lock(state.mutex);
            state.changed.wait(lock, [&] {
                return state.stopping || !state.dead.empty() || state.can_fold() || state.must_merge(options_.max_layers);
            });
            if (state.stopping) return;
            dead.swap(state.dead);
            if (state.can_fold() || state.must_merge(options_.max_layers)) now = state.current;
            merge = !state.can_fold();
        }
        dead.clear();
        if (now == nullptr) continue;
        try {
            if (merge) {
                merge_layers(*now);
            } else {
                fold_oldest(*now);
            }
        } catch (const std::exception& error) {
            const std::lock_guard lock(state.mutex);
            state.fold_error = error.what();
            state.failed_at = state.current->number();
        }
    }
}

// Only the folding thread calls these, so the base and the layers of `now` are those of the current snapshot still, but
// for layers that were published on top.

void Table::fold_oldest(const Snapshot& now) {
    Base base = now.base();
    std::shared_ptr<Layer> deletions;
    std::exception_ptr failed;
    try {
        apply(*now.layers().back(), base.rows, false, state_->stopping);
        const std::uint64_t size = base.rows.index().size();
        if (options_.capacity != 0 && size > options_.capacity) {
            auto evicted = std::make_shared<Layer>(options_.storage);
            for (const std::uint64_t sign : clock_.pick(base.rows.index(), size - options_.capacity)) {
                evicted->rows.add_tombstone(sign);
            }
            evicted->filter.fill(evicted->rows.index());
            deletions = std::move(evicted);
        }
    } catch (...) {
        failed = std::current_exception();
    }
    base.measure();
    end_fold(std::move(base), std::move(deletions), failed == nullptr);
    if (failed != nullptr) std::rethrow_exception(failed);
}

// A fold that failed has changed the base, where only those look who have the layer above it: it must be kept, and the layer
// too. For the same reason there is no way back from here.
void Table::end_fold(Base base, std::shared_ptr<Layer> deletions, bool succeeded) noexcept {
    std::shared_ptr<const Snapshot> before;
    const std::lock_guard lock(state_->mutex);
    const Snapshot& current = *state_->current;
    Layers layers = current.layers();
    std::uint64_t version = current.version();
    if (succeeded) {
        layers.pop_back();
        state_->fold_error.reset();
    }
    if (deletions != nullptr) {
        deletions->first_snapshot = state_->next_number;
        state_->evicted += deletions->rows.index().size();
        layers.push_back(std::move(deletions));
        ++version;
    }
    before = State::install(state_, version, std::move(base), std::move(layers));
}

void Table::merge_layers(const Snapshot& now) {
    auto merged = std::make_shared<Layer>(options_.storage);
    for (auto layer = now.layers().rbegin(); layer != now.layers().rend(); ++layer)
        apply(**layer, merged->rows, true, state_->stopping);
    merged->filter.fill(merged->rows.index());
    std::shared_ptr<const Snapshot> before;
    const std::lock_guard lock(state_->mutex);
    const Snapshot& current = *state_->current;
    Layers layers = current.layers();
    layers.resize(layers.size() - now.layers().size());
    merged->first_snapshot = state_->next_number;
    layers.push_back(std::move(merged));
    before = State::install(state_, current.version(), current.base(), std::move(layers));
}

}  // namespace persia
