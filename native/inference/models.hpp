// The models of a server by their names, and which version of one a request gets.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "inference/destination.hpp"
#include "inference/model_version.hpp"
#include "inference/traffic.hpp"

namespace persia::inference {

// The versions that serve under a name.
struct Model {
    std::map<std::string, std::shared_ptr<ModelVersion>> versions;
    std::string default_version;
    Traffic traffic;  // of requests that name no version
};

// Why there is no version for a request.
struct NotServed {
    enum class Kind { model_not_found, version_not_found };

    Kind kind;
    std::string message;
};

// Thread safety: any thread may call all of it.
class Models {
  public:
    void set(const std::string& name, Model model) {
        auto made = std::make_shared<const Model>(std::move(model));
        const std::lock_guard lock(mutex_);
        models_.insert_or_assign(name, std::move(made));
    }
    void remove(const std::string& name) {
        const std::lock_guard lock(mutex_);
        models_.erase(name);
    }

    // The value of a header by its name in lower case; empty: there is none.
    using HeaderOf = std::function<std::string_view(const std::string&)>;

    // version: empty: the one that the model's traffic chooses.
    std::variant<Destination, NotServed> route(const std::string& name, const std::string& version,
                                               const HeaderOf& header) const {
        const std::shared_ptr<const Model> model = get(name);
        if (!model) return NotServed{NotServed::Kind::model_not_found, "Model not found: " + name};
        const Traffic& traffic = model->traffic;
        const bool chooses = version.empty() && !traffic.weights.empty();
        const std::string_view key = chooses && !traffic.sticky_by.empty() ? header(traffic.sticky_by) : std::string_view();
        const std::string& number = chooses ? traffic.choose(key) : version.empty() ? model->default_version : version;
        const auto found = model->versions.find(number);
        if (found == model->versions.end()) {
            return NotServed{NotServed::Kind::version_not_found,
                             "Model version: " + number + " does not exist for model: " + name};
        }
        Destination destination{found->second};
        if (version.empty() && !traffic.shadow.empty() && traffic.shadow != number && traffic.copies()) {
            const auto shadow = model->versions.find(traffic.shadow);
            if (shadow != model->versions.end()) destination.shadow = shadow->second;
        }
        return destination;
    }

    // As route(), for those who have no headers and give no copies away.
    std::variant<std::shared_ptr<ModelVersion>, NotServed> find(const std::string& name, const std::string& version) const {
        auto routed = route(name, version, [](const std::string&) { return std::string_view(); });
        if (auto* not_served = std::get_if<NotServed>(&routed)) return std::move(*not_served);
        return std::get<Destination>(std::move(routed)).version;
    }

    // Null: there is none of that name.
    std::shared_ptr<const Model> get(const std::string& name) const {
        const std::lock_guard lock(mutex_);
        const auto found = models_.find(name);
        return found == models_.end() ? nullptr : found->second;
    }

    // What is counted for requests that name this model, which is one of the server's, and this version; empty: none. It stays
    // when versions come and go.
    std::shared_ptr<AskedTotals> totals(const std::string& name, const std::string& version) const {
        const std::lock_guard lock(mutex_);
        std::shared_ptr<AskedTotals>& found = totals_[{name, version}];
        if (!found) found = std::make_shared<AskedTotals>();
        return found;
    }
    using Totals = std::map<std::pair<std::string, std::string>, std::shared_ptr<AskedTotals>>;
    Totals all_totals() const {
        const std::lock_guard lock(mutex_);
        return totals_;
    }

  private:
    mutable std::mutex mutex_;
    std::map<std::string, std::shared_ptr<const Model>, std::less<>> models_;
    mutable Totals totals_;
};

}  // namespace persia::inference
