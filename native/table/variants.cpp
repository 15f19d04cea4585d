#include "table/variants.hpp"

#include <utility>

#include "table/apply_layer.hpp"

namespace persia {

namespace {

// An older layer is merged with a newer one that has at least this part of its entries.
constexpr std::uint64_t kMergeFactor = 2;

std::size_t bytes_of(const Layer& layer) { return layer.rows.bytes() + layer.filter.bytes(); }

void push(Variants::Stack& stack, Layer&& layer, RowStorage storage) {
    auto newest = std::make_shared<Layer>(std::move(layer));
    while (!stack.empty() && stack.front()->rows.index().size() <= kMergeFactor * newest->rows.index().size()) {
        auto merged = std::make_shared<Layer>(storage, kBaseShape);
        apply_layer(*stack.front(), merged->rows, Deletions::stay);
        apply_layer(*newest, merged->rows, Deletions::stay);
        newest = std::move(merged);
        stack.erase(stack.begin());
    }
    newest->filter.fill(newest->rows.index());
    stack.insert(stack.begin(), std::move(newest));
}

}  // namespace

Variants::Variants(const Variants* before, std::vector<VariantUpdate>& updates, RowStorage storage) {
    for (VariantUpdate& update : updates) {
        Stack& stack = stacks_[update.variant];
        if (const Stack* had = before == nullptr || update.begins ? nullptr : before->of(update.variant)) stack = *had;
        if (update.layer && update.layer->rows.index().size() != 0) push(stack, std::move(*update.layer), storage);
    }
}

const Variants::Stack* Variants::of(std::uint64_t variant) const {
    const auto found = stacks_.find(variant);
    return found == stacks_.end() ? nullptr : &found->second;
}

std::map<std::uint64_t, VariantStatus> Variants::status() const {
    std::map<std::uint64_t, VariantStatus> all;
    for (const auto& [variant, stack] : stacks_) {
        VariantStatus& status = all[variant];
        status.layers = stack.size();
        for (const auto& layer : stack) {
            status.rows += layer->rows.index().size();
            status.bytes += bytes_of(*layer);
        }
    }
    return all;
}

std::size_t Variants::bytes_beside(std::set<const Layer*>& counted) const {
    std::size_t bytes = 0;
    for (const auto& [variant, stack] : stacks_) {
        for (const auto& layer : stack) {
            if (counted.insert(layer.get()).second) bytes += bytes_of(*layer);
        }
    }
    return bytes;
}

}  // namespace persia
