// The span of a call that a server answers.
#pragma once

#include <memory>

#include "grpc/server_call.hpp"
#include "tracing/span.hpp"

namespace persia::serving {

// From when the call came. Null: its caller is not sampled, says nothing that can be read, or nobody wants spans.
// spans: null: so it is.
tracing::SpanPtr begin_call_span(const std::shared_ptr<tracing::SpanRing>& spans, const grpc::CallInfo& call, const char* name);

// What became of the call.
void set_status(const tracing::SpanPtr& span, const grpc::Status& status);

}  // namespace persia::serving
