// The folding thread: layers into the base, and what that would change for earlier epochs into layers of theirs.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <utility>
#include <vector>

#include "table/apply_layer.hpp"
#include "table/table_state.hpp"

namespace persia {

namespace {

constexpr int kFoldNiceness = 10;

// What the base says of all signs of the snapshot's layers.
std::shared_ptr<Layer> make_undo(const Snapshot& now, RowStorage storage, const std::atomic<bool>& stopping) {
    auto undo = std::make_shared<Layer>(storage);
    const RowMap& base = now.base().rows;
    std::vector<std::uint64_t> signs;
    for (const auto& layer : now.layers()) {
        layer->rows.index().for_each([&](const Entry&, std::uint64_t sign) { signs.push_back(sign); });
    }
    undo->rows.index().reserve(signs.size());
    for (std::size_t i = 0; i < signs.size(); ++i) {
        if (i % 1024 == 0 && stopping.load(std::memory_order_relaxed)) throw Stopped();
        if (i + kAhead < signs.size()) __builtin_prefetch(base.index().home(signs[i + kAhead]));
        if (i + kRowsAhead < signs.size()) {
            const Entry ahead = base.index().find(signs[i + kRowsAhead]);
            if (ahead.ref != kNoRef) __builtin_prefetch(base.arena().row(slot_of_ref(ahead.ref)));
        }
        const Entry found = base.index().find(signs[i]);
        if (found.ref == kNoRef) {
            undo->add_tombstone(signs[i]);
            continue;
        }
        const std::uint32_t slot = slot_of_ref(found.ref);
        const std::uint32_t dim = base.arena().dim(slot);
        std::memcpy(undo->rows.place(signs[i], dim, 3), base.arena().row(slot), row_bytes(storage, dim));
    }
    undo->filter.fill(undo->rows.index());
    undo->first_snapshot = now.number();
    return undo;
}

}  // namespace

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
        void (Table::*work)(const Snapshot&) = nullptr;
        {
            std::unique_lock lock(state.mutex);
            const auto choose = [&] {
                if (state.must_cover()) return work = &Table::cover_earlier;
                if (state.can_fold()) return work = &Table::fold_oldest;
                return work = state.must_merge(options_.max_layers) ? &Table::merge_layers : nullptr;
            };
            state.changed.wait(lock, [&] { return state.stopping || choose() != nullptr || !state.dead.empty(); });
            if (state.stopping) return;
            dead.swap(state.dead);
            now = state.current;
        }
        dead.clear();
        if (work == nullptr) continue;
        try {
            (this->*work)(*now);
        } catch (const std::exception& error) {
            const std::lock_guard lock(state.mutex);
            state.fold_error = error.what();
            state.failed_at = state.current->number();
        }
    }
}

// Only the folding thread calls these, so the base of `now` is that of the current snapshot still. Its layers are, too, but for
// those that were published on top, unless an earlier epoch was taken up again meanwhile: so layers are known by their
// identity.

// What folding will overwrite goes into a layer of its own, under all others of those views that do not hold the oldest layer.
// It has the signs of all layers of `now`, so from here on such a view counts as one that holds these, and has the number of
// `now`.
void Table::cover_earlier(const Snapshot& now) {
    const std::shared_ptr<Layer> undo = make_undo(now, options_.storage, state_->stopping);
    State::Dropped dropped;
    const std::lock_guard lock(state_->mutex);
    dropped.reserve(state_->retained.size());  // a view may not be dropped here, under the mutex
    state_->retained.each_before(now.layers().back()->first_snapshot, [&](std::shared_ptr<const Snapshot>& view) {
        Layers layers = view->layers();
        layers.push_back(undo);
        dropped.push_back(
            state_->make(now.number(), view->version(), view->epoch(), now.base(), std::move(layers), view->variants()));
        std::swap(view, dropped.back());
    });
    state_->retained.trim(*state_->current, RetainedViews::Clock::now(), dropped);
    state_->changed.notify_all();
}

void Table::fold_oldest(const Snapshot& now) {
    Base base = now.base();
    std::shared_ptr<Layer> deletions;
    std::exception_ptr failed;
    try {
        apply_layer(*now.layers().back(), base.rows, Deletions::forget, &state_->stopping);
        const std::uint64_t size = base.rows.index().size();
        if (options_.capacity != 0 && size > options_.capacity) {
            auto evicted = std::make_shared<Layer>(options_.storage);
            for (const std::uint64_t sign : clock_.pick(base.rows.index(), size - options_.capacity)) {
                evicted->add_tombstone(sign);
            }
            evicted->filter.fill(evicted->rows.index());
            deletions = std::move(evicted);
        }
    } catch (...) {
        failed = std::current_exception();
    }
    base.measure();
    end_fold(*now.layers().back(), std::move(base), std::move(deletions), failed == nullptr);
    if (failed != nullptr) std::rethrow_exception(failed);
}

// A fold that failed has changed the base, where only those look who have the layer above it: it must be kept, and the layer
// too. For the same reason there is no way back from here.
void Table::end_fold(const Layer& folded, Base base, std::shared_ptr<Layer> deletions, bool succeeded) noexcept {
    State::Dropped dropped;
    const std::lock_guard lock(state_->mutex);
    const Snapshot& current = *state_->current;
    Layers layers = current.layers();
    std::uint64_t version = current.version();
    if (succeeded) {
        std::erase_if(layers, [&](const auto& layer) { return layer.get() == &folded; });
        state_->fold_error.reset();
    }
    if (deletions != nullptr) {
        deletions->first_snapshot = state_->next_number;
        state_->evicted += deletions->rows.index().size();
        layers.push_back(std::move(deletions));
        ++version;
    }
    dropped = state_->install(version, current.epoch(), std::move(base), std::move(layers), current.variants());
}

void Table::merge_layers(const Snapshot& now) {
    auto merged = std::make_shared<Layer>(options_.storage);
    for (auto layer = now.layers().rbegin(); layer != now.layers().rend(); ++layer)
        apply_layer(**layer, merged->rows, Deletions::stay, &state_->stopping);
    merged->filter.fill(merged->rows.index());
    State::Dropped dropped;
    const std::lock_guard lock(state_->mutex);
    const Snapshot& current = *state_->current;
    Layers layers = current.layers();
    if (layers.size() < now.layers().size() || !std::equal(now.layers().rbegin(), now.layers().rend(), layers.rbegin())) return;
    layers.resize(layers.size() - now.layers().size());
    merged->first_snapshot = state_->next_number;
    layers.push_back(std::move(merged));
    dropped = state_->install(current.version(), current.epoch(), current.base(), std::move(layers), current.variants());
}

}  // namespace persia
