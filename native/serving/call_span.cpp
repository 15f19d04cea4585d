#include "serving/call_span.hpp"

#include <chrono>
#include <optional>
#include <string>

namespace persia::serving {

namespace {

// Of all that the call says; nullopt: it does not say it, or `traceparent` more than once, of which none counts.
std::optional<tracing::TraceContext> context_of(const grpc::Metadata& metadata) {
    const std::string* parent = nullptr;
    std::string state;
    for (const auto& [key, value] : metadata) {
        if (key == tracing::kTraceParent) {
            if (parent != nullptr) return std::nullopt;
            parent = &value;
        } else if (key == tracing::kTraceState) {
            state += (state.empty() ? "" : ",") + value;
        }
    }
    return parent == nullptr ? std::nullopt : tracing::parse_trace_context(*parent, state);
}

}  // namespace

tracing::SpanPtr begin_call_span(const std::shared_ptr<tracing::SpanRing>& spans, const grpc::CallInfo& call,
                                 const char* name) {
    if (spans == nullptr || call.metadata.empty()) return nullptr;
    auto context = context_of(call.metadata);
    if (!context || !context->is_sampled()) return nullptr;
    const tracing::Caller caller{spans, std::move(*context)};
    auto span = std::make_unique<tracing::Span>(caller, name, tracing::SpanKind::server, call.arrived);
    span->set("persia.queued_seconds", std::chrono::duration<double>(grpc::Clock::now() - call.arrived).count());
    span->set("network.peer.address", call.peer);
    return span;
}

void set_status(const tracing::SpanPtr& span, const grpc::Status& status) {
    if (!span) return;
    span->set("rpc.grpc.status_code", static_cast<std::int64_t>(status.code));
    if (!status.ok()) span->fail(status.message);
}

}  // namespace persia::serving
