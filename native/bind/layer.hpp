// A layer as Python fills and publishes it.
#pragma once

#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

#include "base/error.hpp"
#include "table/table.hpp"

namespace persia::bind {

// A layer until it is published. Locked, because the GIL is released while it is filled.
class PyLayer {
  public:
    explicit PyLayer(std::string_view storage) : layer_(std::in_place, row_storage_named(storage)) {}

    template <class F>
    auto with(F f) {
        const std::lock_guard lock(mutex_);
        return f(held());
    }

    // As with(), but after an error there is no layer: what was read until then can never be published.
    template <class F>
    auto load(F f) {
        const std::lock_guard lock(mutex_);
        Layer& layer = held();
        try {
            return f(layer);
        } catch (...) {
            layer_.reset();
            throw;
        }
    }

    // f publishes it, and returns the version; unless it throws, there is no layer afterwards.
    template <class F>
    std::uint64_t give_to(F f) {
        return with([&](Layer& layer) {
            const std::uint64_t version = f(std::move(layer));
            layer_.reset();
            return version;
        });
    }

  private:
    Layer& held() {
        if (!layer_) throw InvalidInput("expected a layer that is not published yet, and whose files could be read");
        return *layer_;
    }

    std::mutex mutex_;
    std::optional<Layer> layer_;
};

}  // namespace persia::bind
