#include "inference/submit_exchange.hpp"

#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>

#include "base/utf8.hpp"
#include "inference/request_options.hpp"

namespace persia::inference {

void submit_exchange(const Models& models, const http::ExchangePtr& exchange, Asked asked, std::vector<Input> inputs,
                     const RestManners& manners, net::Reactor& reactor) {
    const http::Request& request = exchange->request();
    const http::Headers& headers = request.head.headers;
    if (!is_utf8(asked.model) || !is_utf8(asked.version)) return exchange->respond(manners.bad_request(kNoTextInTarget));
    const auto found = models.route(asked.model, asked.version, [&headers](const std::string& name) {
        const std::string* value = http::find(headers, name);
        return value == nullptr ? std::string_view() : std::string_view(*value);
    });
    if (const auto* not_served = std::get_if<NotServed>(&found)) return exchange->respond(manners.not_found(*not_served));
    auto options = options_of(http::find(headers, kRequestId), http::find(headers, kPriority), http::find(headers, kTimeout));
    if (const auto* problem = std::get_if<std::string>(&options)) return exchange->respond(manners.bad_request(*problem));
    Job job;
    job.request = {{}, headers, std::move(inputs), exchange};
    if (const auto problem = why_not_sendable(job.request)) return exchange->respond(manners.bad_request(*problem));
    for (auto& header : asked.headers) job.request.headers.push_back(std::move(header));
    job.names_version = !asked.version.empty();
    job.arrived = request.arrived;
    job.totals = models.totals(asked.model, asked.version);
    apply(std::get<RequestOptions>(std::move(options)), std::nullopt, job);
    job.responder = std::make_shared<RestResponder>(exchange, job.request.id, manners);
    if (job.deadline) watch_deadline(reactor, *job.deadline, job.responder);
    std::get<Destination>(found).submit(std::move(job));
}

}  // namespace persia::inference
