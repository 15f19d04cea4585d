#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "base/bytes.hpp"
#include "batch.hpp"
#include "batch/id_part.hpp"
#include "bind.hpp"
#include "grpc/call_failed.hpp"
#include "release.hpp"
#include "routing/id_set.hpp"
#include "routing/router.hpp"
#include "times.hpp"
#include "wire/forward.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using routing::Clock;
using routing::IdSet;
using routing::Lookup;
using routing::LookupResult;
using routing::ReplicaSet;
using routing::Room;
using routing::Router;

constexpr nb::dlpack::dtype kHalf{static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float), 16, 1};
// Signals, as of Ctrl-C, are heard while somebody waits.
void check_signals() {
    const nb::gil_scoped_acquire held;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

// An array of what somebody else holds, and keeps.
template <class T, class Owner>
nb::ndarray<nb::numpy, T, nb::ndim<1>> shared(T* data, std::size_t size, std::shared_ptr<Owner> owner) {
    auto* kept = new std::shared_ptr<Owner>(std::move(owner));
    const nb::capsule capsule(kept, [](void* p) noexcept { delete static_cast<std::shared_ptr<Owner>*>(p); });
    return {data, {size}, capsule};
}

template <class Owner>
nb::ndarray<nb::numpy> shared_halves(const std::uint16_t* data, std::size_t size, std::shared_ptr<Owner> owner) {
    auto* kept = new std::shared_ptr<Owner>(std::move(owner));
    const nb::capsule capsule(kept, [](void* p) noexcept { delete static_cast<std::shared_ptr<Owner>*>(p); });
    return {const_cast<std::uint16_t*>(data), {size}, capsule, {}, kHalf};
}

routing::RetryPolicy policy_of(double hedge_after, double wait_for_service, double spin_for) {
    return {duration_of(hedge_after), duration_of(wait_for_service), duration_of(spin_for)};
}

// Whom rows are for: the keys of a dense model, of its version, and of a variant.
using RowsKey = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>;

wire::RowsFor rows_for_of(const RowsKey& key) { return {std::get<0>(key), std::get<1>(key), std::get<2>(key)}; }

// A lookup that was begun; its batch lives as long.
struct PyLookup {
    std::unique_ptr<Lookup> lookup;
};

routing::AskingTurns::Turn take_turn(routing::AskingTurns& turns, const Batch& batch, Clock::time_point end) {
    const std::size_t bytes = request_bytes(batch);
    if (auto turn = turns.try_take(bytes)) return std::move(*turn);
    const Released released;
    return turns.take(bytes, end, {.look = check_signals});
}

std::unique_ptr<PyLookup> begin_lookup(Router& self, const DecodedBatch& batch, double seconds, std::uint64_t min_epoch,
                                       std::uint64_t variant, const std::shared_ptr<tracing::Caller>& caller) {
    const Clock::time_point end = Clock::now() + duration_of(seconds);
    auto turn = take_turn(self.turns(), batch.batch, end);
    const ReleasedForWork released(batch.bytes);
    const double left = std::chrono::duration<double>(end - Clock::now()).count();
    const wire::RowsFor rows_for{.variant = variant};
    return std::make_unique<PyLookup>(
        PyLookup{self.begin(batch.batch, left, nullptr, std::move(turn), min_epoch, rows_for, caller)});
}

LookupResult finish_lookup(PyLookup& self) {
    const Released released;
    return self.lookup->finish({.look = check_signals});
}

nb::ndarray<nb::numpy> numbers_of(const PyLookup& self) {
    const auto& room = self.lookup->room();
    return shared_halves(room->numbers.get(), room->tensors.size, room);
}

auto shapes_of(const PyLookup& self) {
    const auto& room = self.lookup->room();
    return shared(room->tensors.shapes.data(), room->tensors.shapes.size(), room);
}

void bind_routers(nb::module_& module) {
    nb::class_<LookupResult>(module, "LookupResult")
        .def_ro("versions", &LookupResult::versions)
        .def_prop_ro("absent", [](const LookupResult& self) { return self.misses.absent; })
        .def_prop_ro("wrong_dim", [](const LookupResult& self) { return self.misses.wrong_dim; })
        .def_ro("missing_shards", &LookupResult::missing_shards)
        .def_prop_ro(
            "counts", [](LookupResult& self) { return owned(std::move(self.counts)); }, nb::rv_policy::automatic)
        .def_ro("checkpoint_id", &LookupResult::checkpoint_id)
        .def_ro("epoch", &LookupResult::epoch)
        .def_ro("asking_seconds", &LookupResult::asking_seconds);
    nb::class_<PyLookup>(module, "Lookup")
        .def_prop_ro("numbers", numbers_of, nb::rv_policy::automatic)
        .def_prop_ro("shapes", shapes_of, nb::rv_policy::automatic)
        .def("finish", finish_lookup);
    nb::class_<Router>(module, "Router")
        .def(nb::new_([](std::shared_ptr<Slots> slots, std::vector<std::shared_ptr<ReplicaSet>> shards, double hedge_after,
                         double wait_for_service, double spin_for, bool zeros_for_missing_shards, RowsKey rows_for) {
                 return std::make_shared<Router>(std::move(slots), std::move(shards),
                                                 routing::RouterOptions{policy_of(hedge_after, wait_for_service, spin_for),
                                                                        zeros_for_missing_shards, rows_for_of(rows_for)});
             }),
             nb::arg("slots"), nb::arg("shards"), nb::kw_only(), nb::arg("hedge_after"), nb::arg("wait_for_service"),
             nb::arg("spin_for"), nb::arg("zeros_for_missing_shards") = false, nb::arg("rows_for") = RowsKey())
        .def("begin", begin_lookup, nb::arg("batch"), nb::arg("seconds"), nb::arg("min_epoch") = 0, nb::arg("variant") = 0,
             nb::arg("caller").none() = nb::none(), nb::keep_alive<0, 1>(), nb::keep_alive<0, 2>())
        .def(
            "settle",
            [](Router& self, std::uint64_t checkpoint_id, std::string problem,
               std::optional<std::vector<std::uint64_t>> known_starts) {
                if (known_starts) std::sort(known_starts->begin(), known_starts->end());
                self.settle({checkpoint_id, std::move(problem), std::move(known_starts)});
            },
            nb::arg("checkpoint_id"), nb::arg("problem"), nb::arg("known_starts").none())
        .def(
            "watch", [](Router& self, RowsKey rows_for) { self.epochs().of(rows_for_of(rows_for)); }, nb::arg("rows_for"))
        .def_prop_ro("watched",
                     [](Router& self) {
                         std::vector<RowsKey> keys;
                         for (const wire::RowsFor& one : self.epochs().watched())
                             keys.emplace_back(one.model, one.version, one.variant);
                         return keys;
                     })
        .def(
            "note_readable",
            [](Router& self, RowsKey rows_for, std::uint64_t first, std::uint64_t last) {
                self.epochs().note(rows_for_of(rows_for), {first, last});
            },
            nb::arg("rows_for"), nb::arg("first"), nb::arg("last"))
        .def_prop_ro("feature_counts", &Router::feature_counts, nb::rv_policy::reference_internal);
}

// What a middleware has answered.
struct Forwarded {
    grpc::ReceivedMessage message;
    wire::ForwardResponse response;
};

constexpr char kForward[] = "/persia.v1.Middleware/Forward";

// Why bytes are no answer of a middleware with one of these configs; empty: they are.
std::string why_no_answer(std::span<const std::byte> bytes, const std::shared_ptr<IdSet>& config_ids) {
    try {
        wire::ForwardResponse response(bytes);
        if (std::string problem = response.problem(); !problem.empty()) return problem;
        if (config_ids && !config_ids->contains(response.facts().embedding_config_id)) {
            return "expected one by the embedding config that was compared, got another one";
        }
        return {};
    } catch (const DecodeError& error) {
        return error.what();
    }
}

// A little less than we have, so that its word about a shard that hangs comes before our own time is over.
std::uint32_t its_milliseconds(Clock::duration left) {
    constexpr std::chrono::milliseconds kWayBack{50};
    const auto its =
        std::chrono::duration_cast<std::chrono::milliseconds>(left - std::min<Clock::duration>(left / 10, kWayBack));
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>(its.count(), 1, std::numeric_limits<std::uint32_t>::max()));
}

std::shared_ptr<Forwarded> forward(const std::shared_ptr<ReplicaSet>& middleware, const DecodedBatch& batch, double seconds,
                                   double hedge_after, double wait_for_service, double spin_for,
                                   const std::shared_ptr<IdSet>& config_ids, std::uint64_t min_epoch, const RowsKey& rows_for,
                                   const std::shared_ptr<tracing::Caller>& caller) {
    const Clock::time_point end = Clock::now() + duration_of(seconds);
    const auto turn = take_turn(middleware->turns(), batch.batch, end);
    const Released released;
    auto ids = std::make_shared<Writer>();
    encode_ids(batch.batch, *ids);
    wire::ForwardRequest request;
    request.ids = ids->view();
    request.timeout_ms = its_milliseconds(end - Clock::now());
    request.min_epoch = min_epoch;
    request.rows_for = rows_for_of(rows_for);
    request.takes_floats = true;
    std::vector<routing::Call> calls;
    calls.emplace_back(
        middleware, kForward, wire::encode_forward_request(request, ids),
        [&](std::span<const std::byte> bytes) { return why_no_answer(bytes, config_ids); }, routing::AnswerMemory(), 0, caller);
    routing::Asking asking(std::move(calls), end, policy_of(hedge_after, wait_for_service, spin_for));
    asking.finish({.look = check_signals});
    routing::Call& call = asking.calls().front();
    if (call.has_error()) throw grpc::CallFailed(call.error().status, call.error().pushback);
    auto forwarded = std::make_shared<Forwarded>();
    forwarded->message = std::move(call.answer());
    forwarded->response = wire::ForwardResponse(forwarded->message.bytes());
    return forwarded;
}

void bind_forwarding(nb::module_& module) {
    nb::class_<IdSet>(module, "IdSet")
        .def(nb::new_([] { return std::make_shared<IdSet>(); }))
        .def("add", &IdSet::add, nb::arg("id"))
        .def("__contains__", &IdSet::contains, nb::arg("id"));
    nb::class_<Forwarded>(module, "Forwarded")
        .def_prop_ro(
            "numbers",
            [](const std::shared_ptr<Forwarded>& self) {
                const auto numbers = self->response.tensors();
                return shared_halves(numbers.data(), numbers.size(), self);
            },
            nb::rv_policy::automatic)
        .def_prop_ro(
            "shapes",
            [](const std::shared_ptr<Forwarded>& self) {
                const auto shapes = self->response.shapes();
                return shared(shapes.data(), shapes.size(), self);
            },
            nb::rv_policy::automatic)
        .def_prop_ro(
            "counts",
            [](const std::shared_ptr<Forwarded>& self) {
                const auto counts = self->response.counts();
                return shared(counts.data(), counts.size(), self);
            },
            nb::rv_policy::automatic)
        .def_prop_ro("versions", [](const Forwarded& self) { return self.response.facts().versions; })
        .def_prop_ro("absent", [](const Forwarded& self) { return self.response.facts().misses.absent; })
        .def_prop_ro("wrong_dim", [](const Forwarded& self) { return self.response.facts().misses.wrong_dim; })
        .def_prop_ro("missing_shards", [](const Forwarded& self) { return self.response.facts().missing_shards; })
        .def_prop_ro("embedding_config_id", [](const Forwarded& self) { return self.response.facts().embedding_config_id; })
        .def_prop_ro("checkpoint_id", [](const Forwarded& self) { return self.response.facts().checkpoint_id; })
        .def_prop_ro("epoch", [](const Forwarded& self) { return self.response.facts().epoch; })
        .def_prop_ro("variant", [](const Forwarded& self) { return self.response.facts().variant; });
    module.def("forward", forward, nb::arg("middleware"), nb::arg("batch"), nb::kw_only(), nb::arg("seconds"),
               nb::arg("hedge_after"), nb::arg("wait_for_service"), nb::arg("spin_for"), nb::arg("config_ids").none(),
               nb::arg("min_epoch") = 0, nb::arg("rows_for") = RowsKey(), nb::arg("caller").none() = nb::none());
}

}  // namespace

void routers(nb::module_& module) {
    bind_routers(module);
    bind_forwarding(module);
}

}  // namespace persia::bind
