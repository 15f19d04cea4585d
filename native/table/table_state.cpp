#include "table/table_state.hpp"

#include <utility>

namespace persia {

// Whoever drops a snapshot last leaves it to the folding thread, which takes the mutex: not while it is made, under the mutex.
struct Table::State::Burial {
    std::shared_ptr<State> state;
    bool is_due = false;

    void operator()(const Snapshot* last) const noexcept {
        if (is_due) return bury(*state, last);
        delete last;
    }
};

std::shared_ptr<const Snapshot> Table::State::make(std::uint64_t number, std::uint64_t version, std::uint64_t epoch, Base base,
                                                   Layers layers, VariantsPtr variants) {
    std::shared_ptr<const Snapshot> made(
        new Snapshot(number, version, epoch, std::move(base), std::move(layers), std::move(variants)),
        Burial{shared_from_this()});
    in_use.insert(number);
    std::get_deleter<Burial>(made)->is_due = true;
    return made;
}

Table::State::Dropped Table::State::install(std::uint64_t version, std::uint64_t epoch, Base base, Layers layers,
                                            VariantsPtr variants) noexcept {
    Dropped dropped;
    auto before =
        std::exchange(current, make(next_number, version, epoch, std::move(base), std::move(layers), std::move(variants)));
    ++next_number;
    changed.notify_all();
    if (before == nullptr) return dropped;
    const std::uint64_t ended = before->epoch();
    if (ended == 0 || ended + 1 != epoch) {
        if (ended != epoch) retained.clear(dropped);  // whoever asks for an epoch between the two gets none
        dropped.push_back(std::move(before));
    } else {
        retained.add(std::move(before), RetainedViews::Clock::now());
    }
    if (!retained.empty()) retained.trim(*current, RetainedViews::Clock::now(), dropped);
    return dropped;
}

void Table::State::bury(State& state, const Snapshot* snapshot) noexcept {
    std::unique_ptr<const Snapshot> owned(snapshot);
    const std::lock_guard lock(state.mutex);
    state.in_use.erase(state.in_use.find(snapshot->number()));
    if (!state.stopping) state.dead.push_back(std::move(owned));
    state.changed.notify_all();
}

}  // namespace persia
