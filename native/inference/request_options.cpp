#include "inference/request_options.hpp"

#include <charconv>
#include <utility>

#include "inference/request_ids.hpp"

namespace persia::inference {

namespace {

constexpr std::size_t kMostIdBytes = 128;
constexpr std::string_view kIdCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=:@";
constexpr double kMostSeconds = 1e6;

bool is_id(std::string_view text) {
    return !text.empty() && text.size() <= kMostIdBytes && text.find_first_not_of(kIdCharacters) == std::string_view::npos;
}

// `1.5`, `1.5s` or `1500ms`.
std::optional<Clock::duration> duration_of(std::string_view text) {
    double unit = 1;
    if (text.ends_with("ms")) {
        unit = 1e-3;
        text.remove_suffix(2);
    } else if (text.ends_with('s')) {
        text.remove_suffix(1);
    }
    double count = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count, std::chars_format::fixed);
    const double seconds = count * unit;
    if (error != std::errc() || end != text.data() + text.size() || !(seconds > 0) || seconds > kMostSeconds) {
        return std::nullopt;
    }
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

std::string milliseconds_since_1970(Clock::time_point time) {
    const auto when = std::chrono::system_clock::now() + (time - Clock::now());
    return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(when.time_since_epoch()).count());
}

}  // namespace

std::string request_id_of(const std::string* given) { return given != nullptr && is_id(*given) ? *given : new_request_id(); }

std::variant<RequestOptions, std::string> options_of(const std::string* id, const std::string* priority,
                                                     const std::string* timeout) {
    RequestOptions options;
    options.id = request_id_of(id);
    if (priority != nullptr) {
        options.urgent = *priority == "high";
        if (!options.urgent && *priority != "normal") {
            return std::string(kPriority) + ": expected `high` or `normal`, got another text";
        }
    }
    if (timeout != nullptr) {
        options.timeout = duration_of(*timeout);
        if (!options.timeout) {
            return std::string(kTimeout) + ": expected seconds such as `1.5`, or `1500ms`, got another text";
        }
    }
    return options;
}

void apply(RequestOptions options, std::optional<Clock::time_point> deadline, Job& job) {
    job.request.id = std::move(options.id);
    job.urgent = options.urgent;
    job.deadline = deadline;
    if (options.timeout && (!deadline || job.arrived + *options.timeout < *deadline)) {
        job.deadline = job.arrived + *options.timeout;
    }
    if (job.deadline) job.request.headers.emplace_back(kDeadline, milliseconds_since_1970(*job.deadline));
}

}  // namespace persia::inference
