// `EmbeddingServer.Lookup`: answered from beginning to end without the interpreter, refusals as well.
#pragma once

#include <memory>

#include "grpc/server_call.hpp"
#include "serving/lookup_context.hpp"
#include "tracing/span.hpp"
#include "wire/lookup.hpp"

namespace persia::serving {

// Thread safety: any thread may call all of it.
class LookupMethod final : public grpc::Method {
  public:
    // spans: of lookups whose callers are sampled; null: nobody wants them.
    explicit LookupMethod(std::shared_ptr<LookupContext> context, std::shared_ptr<tracing::SpanRing> spans = nullptr);

    void on_message(const grpc::ServerCallPtr& call, grpc::ReceivedMessage message) override;
    std::size_t work_of(const grpc::ReceivedMessage& message) const override;

  private:
    grpc::OutgoingMessage answer(grpc::ServerCall& call, const grpc::ReceivedMessage& message, const tracing::SpanPtr& span);
    const Table& open_table() const;
    Table::Pinned pin(const Table& table, const wire::LookupRequest& request, wire::LookupFacts& facts) const;

    const std::shared_ptr<LookupContext> context_;
    const std::shared_ptr<tracing::SpanRing> spans_;
};

}  // namespace persia::serving
