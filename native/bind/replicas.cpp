#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <string>
#include <utility>

#include "bind.hpp"
#include "grpc/call_failed.hpp"
#include "release.hpp"
#include "routing/epoch_choice.hpp"
#include "routing/replica_set.hpp"
#include "routing/retry_budget.hpp"
#include "times.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using routing::Clock;
using routing::EpochWindow;
using routing::Replica;
using routing::ReplicaSet;
using routing::RetryBudget;

// Of each replica of each shard, the oldest and the newest epoch that it has.
using Windows = std::vector<std::vector<std::pair<std::uint64_t, std::uint64_t>>>;

nb::object call_replica(Replica& self, const std::string& path, const nb::bytes& message, double seconds) {
    std::string bytes(message.c_str(), message.size());
    grpc::Reply reply = [&] {
        const Released released;
        return self.call(path, grpc::OutgoingMessage(std::move(bytes)), seconds);
    }();
    if (!reply.status.ok()) throw grpc::CallFailed(reply.status, reply.pushback);
    return nb::bytes(reply.message.bytes().data(), reply.message.size());
}

std::shared_ptr<Replica> make_replica(const std::string& address, std::string host, std::shared_ptr<grpc::TlsContext> tls,
                                      std::shared_ptr<grpc::TokenSource> token) {
    return std::make_shared<Replica>(routing::Target{address, std::move(host), std::move(tls), std::move(token), {}});
}

std::string set_health(Replica& self, std::uint64_t generation, bool ready, std::string state, std::string refused,
                       std::uint64_t version, std::uint64_t rows, std::uint64_t server_start, std::uint64_t checkpoint_id,
                       std::uint64_t checkpoint_seconds, std::uint64_t epoch_low, std::uint64_t epoch_high,
                       bool checkpoint_by_epochs) {
    switch (self.set_health(generation, {ready,
                                         std::move(state),
                                         std::move(refused),
                                         version,
                                         rows,
                                         server_start,
                                         checkpoint_id,
                                         checkpoint_seconds,
                                         {epoch_low, epoch_high},
                                         checkpoint_by_epochs})) {
        case Replica::Update::outdated:
            return "outdated";
        case Replica::Update::same:
            return "same";
        case Replica::Update::changed:
            return "changed";
    }
    return {};
}

// Of routers, for those who simulate them.
void decisions(nb::module_& module) {
    nb::class_<RetryBudget>(module, "RetryBudget")
        .def(nb::init<>())
        .def("earn", &RetryBudget::earn)
        .def(
            "spend", [](RetryBudget& self, double now) { return self.spend(Clock::time_point(duration_of(now))); },
            nb::arg("now"));
    module.def(
        "newest_common",
        [](const Windows& shards) {
            std::vector<std::vector<EpochWindow::Range>> windows;
            for (const auto& replicas : shards) {
                auto& of_shard = windows.emplace_back();
                for (const auto& [low, high] : replicas) of_shard.push_back({low, high});
            }
            return windows.empty() ? std::uint64_t{0} : routing::newest_common(windows);
        },
        nb::arg("shards"));
}

}  // namespace

void replicas(nb::module_& module) {
    nb::class_<routing::Health>(module, "ReplicaHealth")
        .def_ro("ready", &routing::Health::ready)
        .def_ro("state", &routing::Health::state)
        .def_ro("refused", &routing::Health::refused)
        .def_ro("version", &routing::Health::version)
        .def_ro("rows", &routing::Health::rows)
        .def_ro("server_start", &routing::Health::server_start)
        .def_ro("checkpoint_id", &routing::Health::checkpoint_id)
        .def_ro("checkpoint_seconds", &routing::Health::checkpoint_seconds)
        .def_prop_ro("epoch_low", [](const routing::Health& self) { return self.epochs.low; })
        .def_prop_ro("epoch_high", [](const routing::Health& self) { return self.epochs.high; })
        .def_ro("checkpoint_by_epochs", &routing::Health::checkpoint_by_epochs)
        .def_prop_ro("well", &routing::Health::well);
    nb::class_<Replica>(module, "Replica")
        .def(nb::new_(&make_replica), nb::arg("address"), nb::arg("host") = "", nb::arg("tls").none() = nb::none(),
             nb::arg("token").none() = nb::none())
        .def_prop_ro("address", &Replica::address)
        .def_prop_ro("generation", &Replica::generation)
        .def_prop_ro("usable", &Replica::usable)
        .def_prop_ro("well", &Replica::well)
        .def_prop_ro("health", &Replica::health)
        .def_prop_ro("excluded", &Replica::excluded)
        .def_prop_ro("closed", &Replica::closed)
        .def_prop_ro("idle_connections", &Replica::idle_connections)
        .def_prop_ro("unusable_since", [](const Replica& self) { return seconds_of(self.unusable_since()); })
        .def_prop_ro("standing", [](const Replica& self) { return static_cast<int>(self.standing(Clock::now())); })
        .def("why_unusable", &Replica::why_unusable)
        .def(
            "mark_hanging", [](Replica& self, double seconds) { self.mark_hanging(Clock::now() + duration_of(seconds)); },
            nb::arg("seconds"))
        .def("suspect", &Replica::suspect, nb::arg("generation"), nb::arg("reason"))
        .def("set_health", set_health, nb::arg("generation"), nb::kw_only(), nb::arg("ready"), nb::arg("state"),
             nb::arg("refused") = "", nb::arg("version") = 0, nb::arg("rows") = 0, nb::arg("server_start") = 0,
             nb::arg("checkpoint_id") = 0, nb::arg("checkpoint_seconds") = 0, nb::arg("epoch_low") = 0,
             nb::arg("epoch_high") = 0, nb::arg("checkpoint_by_epochs") = false)
        .def("exclude", &Replica::exclude, nb::arg("reason"))
        .def("wait_for_change", &Replica::wait_for_change, nb::arg("generation"), nb::arg("seconds"),
             nb::call_guard<Released>())
        .def("call", call_replica, nb::arg("path"), nb::arg("message"), nb::arg("seconds"))
        .def("close", &Replica::close);
    nb::class_<ReplicaSet>(module, "ReplicaSet")
        .def(nb::new_([](std::string name, ReplicaSet::Replicas replicas) {
                 return std::make_shared<ReplicaSet>(std::move(name), std::move(replicas));
             }),
             nb::arg("name"), nb::arg("replicas"))
        .def_prop_ro("name", &ReplicaSet::name)
        .def_prop_ro("replicas", [](const ReplicaSet& self) { return *self.replicas(); })
        .def("set_replicas", &ReplicaSet::set_replicas, nb::arg("replicas"), nb::arg("unresolved") = "")
        .def_prop_ro("usable", &ReplicaSet::usable)
        .def_prop_ro("hanging", [](const ReplicaSet& self) { return self.hanging(Clock::now()); })
        .def("why_unusable", &ReplicaSet::why_unusable)
        .def("close", &ReplicaSet::close);
    decisions(module);
}

}  // namespace persia::bind
