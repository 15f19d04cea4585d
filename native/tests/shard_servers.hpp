// Shards behind servers of their own, a router before them, and what it should give.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "batches.hpp"
#include "grpc/server.hpp"
#include "one_shard.hpp"
#include "plan/assemble.hpp"
#include "routing/router.hpp"

namespace persia {

constexpr char kLookupPath[] = "/persia.v1.EmbeddingServer/Lookup";

class Served {
  public:
    Served(const std::string& path, std::shared_ptr<grpc::Method> method, const grpc::ServerLimits& limits = {})
        : server_(limits, nullptr, nullptr) {
        server_.add(path, std::move(method));
        address_ = server_.listen("127.0.0.1:0");
        server_.start();
    }
    ~Served() { stop(); }

    void stop() { server_.stop(std::chrono::milliseconds(0)); }
    const std::string& address() const { return address_; }
    const grpc::Server& server() const { return server_; }

  private:
    grpc::Server server_;
    std::string address_;
};

inline std::shared_ptr<routing::Replica> ready_replica(const std::string& address, std::uint64_t start = kStart,
                                                       std::uint64_t checkpoint = kCheckpoint) {
    auto replica = std::make_shared<routing::Replica>(routing::Target{address, "", nullptr, nullptr, {}});
    replica->set_health(0,
                        {.ready = true, .state = "serving", .refused = "", .server_start = start, .checkpoint_id = checkpoint});
    return replica;
}

// Answers as another method does, in bytes that are changed before they are sent.
class SpoilingMethod final : public grpc::Method {
  public:
    using Spoil = std::function<Bytes(Bytes)>;
    explicit SpoilingMethod(std::shared_ptr<grpc::Method> method) : method_(std::move(method)) {}

    void on_message(const grpc::ServerCallPtr& call, grpc::ReceivedMessage message) override {
        const auto asked = std::make_shared<FakeCall>();
        method_->on_message(asked, std::move(message));
        if (!asked->status.ok()) return call->finish(asked->status, asked->trailers);
        Bytes answer = joined(*asked->sent);
        if (spoil) answer = spoil(std::move(answer));
        call->reply(grpc::OutgoingMessage(std::string(reinterpret_cast<const char*>(answer.data()), answer.size())));
    }

    Spoil spoil;  // set while nobody asks

  private:
    std::shared_ptr<grpc::Method> method_;
};

// Never answers.
class Silent final : public grpc::Method {
  public:
    void on_message(const grpc::ServerCallPtr&, grpc::ReceivedMessage) override {}
};

inline std::shared_ptr<const Slots> slots_of_tests() {
    return std::make_shared<const Slots>(
        std::vector<Slot>{{.name = "sums", .dim = 4},
                          {.name = "raw", .dim = 5, .summation = false},
                          {.name = "rows", .dim = 5, .summation = false, .hash_stack_rounds = 2, .hash_stack_size = 40},
                          {.name = "stack", .dim = 8, .hash_stack_rounds = 2, .hash_stack_size = 20},
                          {.name = "single", .dim = 1}},
        8);
}

inline std::vector<Bytes> batches_of_tests() {
    return {encoded({{"sums", {range(0, 40), range(20, 50), {}}}, {"raw", {{1, 2, 3}, {}, {3, 200}}}}),
            encoded({{"stack", {range(0, 30), range(5, 9)}}, {"single", {{1}, {2}}}, {"rows", {{1, 2, 3}, {4, 5}}}}),
            encoded({{"single", {range(0, 90)}}, {"sums", {{}}}, {"stack", {{7, 7, 7}}}})};
}

// So many shards, each of which holds the rows of all.
class Shards {
  public:
    explicit Shards(std::uint32_t count, const std::function<std::unique_ptr<Table>()>& make_table = table_for_requests,
                    std::size_t max_numbers = 10'000'000) {
        for (std::uint32_t i = 0; i < count; ++i) {
            shards.push_back(std::make_unique<OneShard>(make_table(), wire::ShardPlace{i, count}, max_numbers));
            spoilers.push_back(std::make_shared<SpoilingMethod>(shards.back()->method));
            servers.push_back(std::make_unique<Served>(kLookupPath, spoilers.back()));
            replicas.push_back(ready_replica(servers.back()->address()));
            sets.push_back(std::make_shared<routing::ReplicaSet>("shard " + std::to_string(i) + " of " + std::to_string(count),
                                                                 routing::ReplicaSet::Replicas{replicas.back()}));
        }
    }
    ~Shards() { servers.clear(); }

    std::shared_ptr<routing::Router> router(bool zeros = false, std::shared_ptr<const Slots> slots = slots_of_tests()) const {
        routing::RouterOptions options{.retry = {}, .zeros_for_missing_shards = zeros};
        options.retry.wait_for_service = std::chrono::milliseconds(20);
        options.retry.hedge_after = std::chrono::seconds(10);
        auto made = std::make_shared<routing::Router>(std::move(slots), sets, options);
        made->settle({.checkpoint_id = kCheckpoint, .problem = "", .known_starts = {}});
        return made;
    }

    std::vector<std::unique_ptr<OneShard>> shards;
    std::vector<std::shared_ptr<SpoilingMethod>> spoilers;
    std::vector<std::unique_ptr<Served>> servers;
    std::vector<std::shared_ptr<routing::Replica>> replicas;
    std::vector<std::shared_ptr<routing::ReplicaSet>> sets;
};

struct Expected {
    std::vector<std::uint16_t> numbers;
    Misses misses;
};

// Put together without any server. without: a shard that is missing.
inline Expected expected_of(const Bytes& batch, const Slots& slots, const Shards& shards,
                            std::size_t without = ~std::size_t{0}) {
    const Plan plan = make_plan(decode_batch(batch), slots, static_cast<std::uint32_t>(shards.shards.size()));
    Expected expected;
    std::vector<std::vector<float>> answers;
    for (std::size_t i = 0; i < plan.shards.size(); ++i) {
        std::vector<float>& answer = answers.emplace_back(plan.shards[i].view().answer_size());
        if (i == without) {
            answer.clear();
            continue;
        }
        std::vector<RunMisses> by_part;
        const Misses misses = persia::answer(*shards.shards[i]->table->pin(), plan.shards[i].view(), answer.data(), by_part);
        expected.misses.absent += misses.absent;
        expected.misses.wrong_dim += misses.wrong_dim;
    }
    std::size_t size = 0;
    for (const PlannedFeature& feature : plan.features) size += tensor_shape(feature).size();
    expected.numbers.resize(size);
    std::vector<std::uint16_t*> outs;
    std::uint16_t* out = expected.numbers.data();
    for (const PlannedFeature& feature : plan.features) {
        outs.push_back(out);
        out += tensor_shape(feature).size();
    }
    const std::vector<std::span<const float>> columns(answers.begin(), answers.end());
    assemble(plan, columns, outs);
    return expected;
}

}  // namespace persia
