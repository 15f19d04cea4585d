#include "table/table.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "base/error.hpp"
#include "table/table_state.hpp"

namespace persia {

namespace {

// The layers of an earlier epoch, to stand over the base as it is now. They share its rows.
Layers taken_up_again(const Layers& layers, std::uint64_t first_snapshot) {
    Layers again;
    for (const auto& layer : layers) {
        auto copy = std::make_shared<Layer>(*layer);
        copy->first_snapshot = first_snapshot;
        again.push_back(std::move(copy));
    }
    return again;
}

}  // namespace

Table::Table(TableBuilder& builder)
    : options_(builder.options_),
      state_(std::make_shared<State>(builder.options_.retained_epochs, builder.options_.retained_share)) {
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
    static_cast<void>(state_->install(0, 0, std::move(base), {}, nullptr));
}

Table::~Table() {
    {
        const std::lock_guard lock(state_->mutex);
        state_->stopping = true;
        state_->changed.notify_all();
    }
    folder_.join();
    State::Dropped last;
    std::vector<std::unique_ptr<const Snapshot>> dead;
    const std::lock_guard lock(state_->mutex);
    state_->retained.clear(last);
    last.push_back(std::exchange(state_->current, nullptr));
    dead.swap(state_->dead);
}

std::shared_ptr<const Snapshot> Table::pin() const {
    const std::lock_guard lock(state_->mutex);
    return state_->current;
}

Table::Pinned Table::pin_epoch(std::uint64_t epoch) const {
    const std::lock_guard lock(state_->mutex);
    Pinned pinned{nullptr, oldest_epoch(), state_->current->epoch()};
    pinned.snapshot =
        epoch == 0 || epoch == pinned.epoch_high ? state_->current : state_->retained.find(epoch, RetainedViews::Clock::now());
    return pinned;
}

void Table::hold_epoch(std::uint64_t epoch, double seconds) const {
    const auto held = std::chrono::duration_cast<RetainedViews::Clock::duration>(std::chrono::duration<double>(seconds));
    const std::lock_guard lock(state_->mutex);
    state_->retained.hold(epoch, RetainedViews::Clock::now() + held);
}

// REQUIRES: the mutex is held.
std::uint64_t Table::oldest_epoch() const {
    return state_->retained.empty() ? state_->current->epoch() : state_->retained.oldest();
}

std::uint64_t Table::publish(Layer&& layer) { return publish(std::move(layer), std::nullopt); }

std::uint64_t Table::begin_epoch(Layer&& layer, std::uint64_t epoch, std::uint64_t onto, std::vector<VariantUpdate> variants) {
    std::shared_ptr<const Variants> all;
    if (!variants.empty()) {
        if (std::ranges::any_of(variants, [&](const VariantUpdate& update) {
                return update.layer && update.layer->rows.arena().storage() != options_.storage;
            })) {
            throw InvalidInput("expected layers of variants with the table's row storage");
        }
        const auto before = pin();
        all = std::make_shared<const Variants>(before->variants().get(), variants, options_.storage);
    }
    return publish(std::move(layer), Begun{epoch, onto, std::move(all)});
}

std::uint64_t Table::publish(Layer&& layer, std::optional<Begun> begun) {
    if (layer.rows.arena().storage() != options_.storage) throw InvalidInput("expected a layer with the table's row storage");
    layer.filter.fill(layer.rows.index());
    State::Dropped dropped;
    const std::lock_guard lock(state_->mutex);
    const Snapshot& current = *state_->current;
    Base base = current.base();
    Layers layers = begun ? layers_of(*begun) : current.layers();
    if (!begun || layer.rows.index().size() != 0) {
        layers.insert(layers.begin(), nullptr);
        // Last of what may find no memory left: until here the layer is the caller's.
        auto added = std::make_shared<Layer>(std::move(layer));
        added->first_snapshot = state_->next_number;
        layers.front() = std::move(added);
    }
    const std::uint64_t version = current.version() + 1;
    dropped = state_->install(version, begun ? begun->epoch : current.epoch(), std::move(base), std::move(layers),
                              begun ? std::move(begun->variants) : current.variants());
    return version;
}

// REQUIRES: the mutex is held.
std::vector<std::shared_ptr<const Layer>> Table::layers_of(const Begun& begun) const {
    const Snapshot& current = *state_->current;
    if (begun.epoch <= current.epoch()) {
        throw InvalidInput("expected an epoch after " + std::to_string(current.epoch()) + ", got " +
                           std::to_string(begun.epoch));
    }
    if (begun.onto == current.epoch()) return current.layers();
    const auto view = state_->retained.find(begun.onto, RetainedViews::Clock::now());
    if (view == nullptr) {
        throw InvalidInput("expected to go on from one of the epochs " + std::to_string(oldest_epoch()) + " to " +
                           std::to_string(current.epoch()) + ", got " + std::to_string(begun.onto));
    }
    return taken_up_again(view->layers(), state_->next_number);
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
        status.epoch_low = oldest_epoch();
        status.retained_epochs = state_->retained.size();
        status.retained_bytes = state_->retained.bytes();
        status.retained_most_bytes = state_->retained.most_bytes(now->base());
        status.epochs_given_up = state_->retained.given_up();
    }
    status.version = now->version();
    status.epoch = now->epoch();
    status.base_rows = now->base().size;
    status.base_bytes = now->base().bytes;
    status.base_rows_by_dim = now->base().by_dim;
    if (const auto& variants = now->variants()) {
        std::set<const Layer*> counted;
        status.variants = variants->status();
        status.variant_bytes = variants->bytes_beside(counted);
    }
    status.layers = now->layers().size();
    for (const auto& layer : now->layers()) {
        status.layer_rows += layer->rows.index().size();
        status.layer_bytes += layer->rows.bytes() + layer->filter.bytes();
    }
    return status;
}

}  // namespace persia
