// A shard that answers lookups, what it is asked for, and what a naive loop says.
#pragma once

#include <memory>
#include <utility>

#include "fake_call.hpp"
#include "serving/lookup_method.hpp"
#include "spoiled_requests.hpp"

namespace persia {

constexpr std::size_t kMaxNumbers = 20'000;
constexpr std::uint64_t kStart = 0x8877665544332211;
constexpr std::uint64_t kCheckpoint = 0x0102030405060708;
constexpr wire::ShardPlace kPlace{1, 3};

struct OneShard {
    explicit OneShard(std::unique_ptr<Table> rows = table_for_requests(), const wire::ShardPlace& place = kPlace,
                      std::size_t max_numbers = kMaxNumbers)
        : table(std::move(rows)),
          context(std::make_shared<serving::LookupContext>(
              place, kStart, max_numbers, std::vector<double>{1e-9, 1e-6, 1e-3, 1e3}, std::vector<std::string>{"a"})),
          method(std::make_shared<serving::LookupMethod>(context)) {
        context->open(*table, kCheckpoint);
    }
    ~OneShard() { context->close(); }

    std::unique_ptr<Table> table;
    std::shared_ptr<serving::LookupContext> context;
    std::shared_ptr<serving::LookupMethod> method;
};

// As protobuf writes it: in the order of the fields' numbers, without padding.
inline Bytes plain_message(const Wire& columns, const wire::ShardPlace& place = kPlace) {
    wire::MessageWriter message;
    for (std::uint32_t i = 0; i < kColumns; ++i) message.bytes(i + 2, columns.columns[i]);
    message.varint(6, place.index);
    message.varint(7, place.count);
    return joined(message.take());
}

// As our clients write it. REQUIRES: the columns are in whole items.
inline Bytes aligned_message(const Wire& columns, const wire::ShardPlace& place = kPlace) {
    const auto parts = items_of<RequestPart>(columns.columns[0]);
    const auto signs = items_of<std::uint64_t>(columns.columns[1]);
    const auto counts = items_of<std::uint32_t>(columns.columns[2]);
    const auto samples = items_of<std::uint16_t>(columns.columns[3]);
    return joined(wire::encode_lookup_request(place, {parts, signs, counts, samples}, nullptr));
}

// Of one part, without columns of sums.
inline Wire request_for(AnswerKind kind, std::uint32_t dim, const std::vector<std::uint64_t>& signs) {
    const RequestPart part{0, kind, dim, 1, static_cast<std::uint32_t>(signs.size()), 0};
    return {{bytes_of(std::vector<RequestPart>{part}), bytes_of(signs), {}, {}}};
}

// Whether a message answers a request, which passes check_request, as a naive loop does.
inline bool is_answer(const Bytes& message, const Snapshot& snapshot, const RequestView& request) {
    const auto came = received(message);
    wire::LookupResponse response(came.bytes());
    Misses misses;
    std::vector<RunMisses> by_part;
    const Bytes numbers = naive_answer(snapshot, request, misses, by_part);
    const wire::LookupFacts& facts = response.facts();
    return facts.version == snapshot.version() && facts.misses.absent == misses.absent &&
           facts.misses.wrong_dim == misses.wrong_dim && facts.server_start == kStart && facts.checkpoint_id == kCheckpoint &&
           std::ranges::equal(response.misses(), bytes_of(by_part)) &&
           std::ranges::equal(std::as_bytes(response.numbers()), numbers);
}

}  // namespace persia
