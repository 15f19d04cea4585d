#include "serving/readable_epochs.hpp"

#include <algorithm>
#include <utility>

namespace persia::serving {

ReadableEpochs::ReadableEpochs(const std::vector<DenseChange>& dense, std::vector<VariantsChange> variants) {
    for (const DenseChange& change : dense) {
        std::vector<NamedVersion>& versions = models_[change.model];
        if (versions.empty()) versions.push_back({1, 0});
        versions.push_back({change.epoch, change.version});
    }
    for (VariantsChange& change : variants) {
        for (const auto& [variant, now] : change.variants) variants_[variant];
        for (auto& [variant, states] : variants_) {
            if (states.empty()) states.push_back({1, false, {}});
            const auto now = change.variants.find(variant);
            const bool is_there = now != change.variants.end();
            states.push_back({change.epoch, is_there, is_there ? now->second.dense : decltype(Variant::dense)()});
        }
        newest_ = std::move(change.variants);
    }
}

bool ReadableEpochs::fits(const wire::RowsFor& rows_for, const NamedVersion& named, const VariantState& state) {
    if (!state.is_there) return false;
    const auto own = state.dense.find(rows_for.model);
    const std::uint64_t version = own == state.dense.end() ? named.version : own->second;
    return rows_for.model == 0 || version == 0 || version == rows_for.version;
}

bool ReadableEpochs::may_read(const wire::RowsFor& rows_for, std::uint64_t epoch) const {
    return newest_run(rows_for, epoch, epoch).last == epoch;
}

wire::EpochRun ReadableEpochs::newest_run(const wire::RowsFor& rows_for, std::uint64_t low, std::uint64_t high) const {
    static const std::vector<NamedVersion> any_version{{1, 0}};
    static const std::vector<VariantState> no_variant{{1, true, {}}};
    const auto model = models_.find(rows_for.model);
    const auto variant = variants_.find(rows_for.variant);
    if (rows_for.variant != 0 && variant == variants_.end()) return {};
    const auto& versions = model == models_.end() ? any_version : model->second;
    const auto& states = rows_for.variant == 0 ? no_variant : variant->second;
    wire::EpochRun run;
    std::uint64_t last = high;
    // From the newest epochs back, as long as one thing holds for all of them.
    for (auto named = versions.rbegin(), end = versions.rend(); named != end;) {
        auto state = std::ranges::find_if(states.rbegin(), states.rend(), [&](const auto& one) { return one.since <= last; });
        if (named->since > last || state == states.rend()) {
            ++named;
            continue;
        }
        const std::uint64_t since = std::max(named->since, state->since);
        const bool may_read = fits(rows_for, *named, *state);
        if (!may_read && run.last != 0) break;
        if (run.last == 0 && last < std::max<std::uint64_t>(low, 1)) break;
        if (may_read) run = {since, run.last == 0 ? last : run.last};
        if (named->since == since) ++named;
        last = since - 1;
    }
    return run;
}

bool ReadableEpochs::has_variant(std::uint64_t variant) const { return variant == 0 || newest_.contains(variant); }

std::string ReadableEpochs::variant_names() const {
    std::vector<std::string> names;
    for (const auto& [id, variant] : newest_) names.push_back(variant.name);
    std::ranges::sort(names);
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
    return text.empty() ? "which has no variants" : text;
}

}  // namespace persia::serving
