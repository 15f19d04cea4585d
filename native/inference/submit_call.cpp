#include "inference/submit_call.hpp"

#include <string_view>
#include <utility>
#include <variant>

#include "inference/request_options.hpp"

namespace persia::inference {

void submit_call(const Models& models, const grpc::ServerCallPtr& call, const std::string& model, const std::string& version,
                 WorkerRequest request, std::shared_ptr<Responder> responder) {
    const grpc::CallInfo& info = call->info();
    const auto found = models.route(model, version, [&info](const std::string& name) {
        const std::string* value = grpc::find(info.metadata, name);
        return value == nullptr ? std::string_view() : std::string_view(*value);
    });
    if (const auto* not_served = std::get_if<NotServed>(&found)) {
        return call->finish({grpc::Code::not_found, not_served->message});
    }
    auto options = options_of(grpc::find(info.metadata, kRequestId), grpc::find(info.metadata, kPriority),
                              grpc::find(info.metadata, kTimeout));
    if (auto* problem = std::get_if<std::string>(&options)) {
        return call->finish({grpc::Code::invalid_argument, std::move(*problem)});
    }
    if (auto problem = why_not_sendable(request)) return call->finish({grpc::Code::invalid_argument, std::move(*problem)});
    Job job;
    job.request = std::move(request);
    job.responder = std::move(responder);
    job.names_version = !version.empty();
    job.arrived = info.arrived;
    job.totals = models.totals(model, version);
    apply(std::get<RequestOptions>(std::move(options)), info.deadline, job);
    call->add_trailer(std::string(kRequestId), job.request.id);
    std::get<Destination>(found).submit(std::move(job));
}

}  // namespace persia::inference
