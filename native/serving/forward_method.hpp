// `Middleware.Forward`: answered from beginning to end without the interpreter, refusals as well.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "grpc/server_call.hpp"
#include "routing/router.hpp"
#include "serving/call_counts.hpp"
#include "serving/variant_counts.hpp"
#include "tracing/span.hpp"
#include "wire/forward.hpp"

namespace persia::serving {

// How lookups fared, since the start. Thread safety: any thread may call all of it.
class ForwardCounts {
  public:
    // bounds: seconds, ascending, of the histograms.
    explicit ForwardCounts(const std::vector<double>& bounds) : calls_(bounds), asking_(bounds) {}

    void add(const routing::LookupResult& result);

    struct Totals {
        Histogram::Totals asking;         // for the shards' answers
        Misses misses;                    // signs
        std::uint64_t without_shard = 0;  // lookups that were answered without a shard
    };
    Totals totals() const;
    CallCounts& calls() { return calls_; }
    VariantCounts& variants() { return variants_; }

  private:
    CallCounts calls_;
    VariantCounts variants_;
    Histogram asking_;
    std::atomic<std::uint64_t> absent_{0}, wrong_dim_{0}, without_shard_{0};
};

// Thread safety: any thread may call all of it.
class ForwardMethod final : public grpc::Method {
  public:
    // seconds: for a lookup whose caller says nothing. spans: of those whose callers are sampled; null: nobody wants them.
    ForwardMethod(std::shared_ptr<const routing::Router> router, std::uint64_t embedding_config_id, double seconds,
                  std::shared_ptr<ForwardCounts> counts, std::shared_ptr<tracing::SpanRing> spans = nullptr);

    // Returns when the shards have answered: it must not be called by a thread that others wait for.
    void on_message(const grpc::ServerCallPtr& call, grpc::ReceivedMessage message) override;
    std::size_t work_of(const grpc::ReceivedMessage& message) const override;

  private:
    grpc::OutgoingMessage answer(grpc::ServerCall& call, const grpc::ReceivedMessage& message, const tracing::SpanPtr& span);

    const std::shared_ptr<const routing::Router> router_;
    const std::uint64_t embedding_config_id_;
    const double seconds_;
    const std::shared_ptr<ForwardCounts> counts_;
    const std::shared_ptr<tracing::SpanRing> spans_;
};

}  // namespace persia::serving
