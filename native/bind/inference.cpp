// Models of a model server and their workers, as the server's Python sees them.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "bind.hpp"
#include "inference/model_infer_method.hpp"
#include "inference/models.hpp"
#include "inference/own_request.hpp"
#include "inference/predictions_method.hpp"
#include "release.hpp"
#include "times.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using inference::Failure;
using inference::Model;
using inference::ModelLimits;
using inference::Models;
using inference::ModelVersion;
using inference::WorkerLink;
using net::Reactor;

const char* name_of(WorkerLink::Ending ending) {
    switch (ending) {
        case WorkerLink::Ending::none:
            return "";
        case WorkerLink::Ending::retired:
            return "retired";
        case WorkerLink::Ending::timed_out:
            return "timed out";
        case WorkerLink::Ending::lost:
            break;
    }
    return "lost";
}

const char* name_of(Failure::Kind kind) {
    switch (kind) {
        case Failure::Kind::no_worker:
            return "no worker";
        case Failure::Kind::queue_full:
            return "queue full";
        case Failure::Kind::expired:
            return "expired";
        case Failure::Kind::worker_died:
            return "worker died";
        case Failure::Kind::handler:
            break;
    }
    return "handler";
}

// The answer's body, and of a failure its kind and its words.
nb::tuple ask_version(ModelVersion& self, inference::Headers headers, double seconds) {
    std::variant<inference::Prediction, Failure> answer;
    {
        const Released released;
        answer = inference::ask(self, std::move(headers), milliseconds_of(seconds));
    }
    if (const auto* failure = std::get_if<Failure>(&answer)) {
        return nb::make_tuple(nb::bytes("", 0), name_of(failure->kind), failure->message);
    }
    const auto body = std::get<inference::Prediction>(answer).body;
    return nb::make_tuple(nb::bytes(body.data(), body.size()), "", "");
}

void set_model(Models& self, const std::string& name, std::map<std::string, std::shared_ptr<ModelVersion>> versions,
               std::string default_version, std::map<std::string, double> weights, std::string sticky_by, std::string shadow,
               double shadow_share) {
    self.set(name, Model{std::move(versions), std::move(default_version),
                         inference::Traffic{std::move(weights), std::move(sticky_by), std::move(shadow), shadow_share}});
}

std::shared_ptr<ModelVersion> make_version(std::shared_ptr<Reactor> reactor, std::string name, std::string version,
                                           std::size_t batch_size, double max_batch_delay, std::size_t queue_size,
                                           std::size_t max_body_bytes, double response_timeout, double client_timeout,
                                           bool only_idle) {
    ModelLimits limits;
    limits.batch_size = std::max<std::size_t>(1, batch_size);
    limits.max_batch_delay = milliseconds_of(max_batch_delay);
    limits.queue_size = queue_size;
    limits.client_timeout = milliseconds_of(client_timeout);
    limits.only_idle = only_idle;
    limits.worker.max_body_bytes = max_body_bytes;
    limits.worker.response_timeout = milliseconds_of(response_timeout);
    return std::make_shared<ModelVersion>(std::move(name), std::move(version), limits, *reactor);
}

nb::dict counts_of(const ModelVersion& self) {
    const ModelVersion::Counts counts = self.counts();
    nb::dict all;
    all["queued"] = counts.queued;
    all["at_work"] = counts.at_work;
    all["workers"] = counts.workers;
    all["refused"] = counts.refused;
    all["expired"] = counts.expired;
    return all;
}

nb::dict latencies_of(const ModelVersion& self) {
    const inference::LatencyHistograms::Totals totals = self.latencies();
    nb::dict all;
    all["whole"] = totals.whole;
    all["queue"] = totals.queue;
    all["worker"] = totals.worker;
    all["last_queue_seconds"] = totals.last_queue_seconds;
    all["last_worker_seconds"] = totals.last_worker_seconds;
    return all;
}

// For each model and version that were asked for: requests, and microseconds of all of them together, and in the queue.
nb::list asked_of(const Models& self) {
    constexpr auto kRelaxed = std::memory_order_relaxed;
    nb::list all;
    for (const auto& [asked, totals] : self.all_totals()) {
        all.append(nb::make_tuple(asked.first, asked.second, totals->requests.load(kRelaxed),
                                  totals->microseconds.load(kRelaxed), totals->queue_microseconds.load(kRelaxed)));
    }
    return all;
}

}  // namespace

void inference_models(nb::module_& module) {
    nb::class_<Reactor>(module, "Reactor")
        .def(nb::new_([](std::size_t threads) {
                 auto reactor = std::make_shared<Reactor>();
                 reactor->start(threads);
                 return reactor;
             }),
             nb::arg("threads"))
        .def("stop", &Reactor::stop, nb::call_guard<Released>());
    nb::class_<WorkerLink>(module, "WorkerLink")
        .def("retire", &WorkerLink::retire, nb::call_guard<Released>())
        .def("end", &WorkerLink::end, nb::arg("status"), nb::arg("reason"), nb::call_guard<Released>())
        .def(
            "wait",
            [](const WorkerLink& self, double seconds) {
                const Released released;
                const WorkerLink::Ending ending = self.wait(milliseconds_of(seconds));
                return std::pair(std::string(name_of(ending)), self.reason());
            },
            nb::arg("seconds"));
    nb::class_<ModelVersion>(module, "ModelVersion")
        .def(nb::new_(&make_version), nb::arg("reactor"), nb::arg("name"), nb::arg("version"), nb::kw_only(),
             nb::arg("batch_size"), nb::arg("max_batch_delay"), nb::arg("queue_size"), nb::arg("max_body_bytes"),
             nb::arg("response_timeout"), nb::arg("client_timeout") = 0.0, nb::arg("only_idle") = false, nb::keep_alive<0, 1>())
        .def("expect_workers", &ModelVersion::expect_workers, nb::arg("count"), nb::call_guard<Released>())
        .def("set_requests_at_once", &ModelVersion::set_requests_at_once, nb::arg("requests"), nb::call_guard<Released>())
        .def("add_worker", &ModelVersion::add_worker, nb::arg("socket"), nb::arg("process"), nb::call_guard<Released>())
        .def(
            "wait_until_idle",
            [](const ModelVersion& self, double seconds) {
                const Released released;
                return self.wait_until_idle(milliseconds_of(seconds));
            },
            nb::arg("seconds"))
        .def("ask", ask_version, nb::arg("headers"), nb::arg("seconds"))
        .def("counts", counts_of)
        .def("latencies", latencies_of)
        .def_static("bounds", [] { return inference::LatencyHistograms::bounds(); });
    nb::class_<Models>(module, "Models")
        .def(nb::new_([] { return std::make_shared<Models>(); }))
        .def("set", set_model, nb::arg("name"), nb::arg("versions"), nb::arg("default_version"), nb::kw_only(),
             nb::arg("weights") = std::map<std::string, double>(), nb::arg("sticky_by") = "", nb::arg("shadow") = "",
             nb::arg("shadow_share") = 1.0)
        .def("remove", &Models::remove, nb::arg("name"))
        .def("asked", asked_of);
    module.def(
        "predictions_method",
        [](std::shared_ptr<Models> models, bool streams) -> std::shared_ptr<grpc::Method> {
            return std::make_shared<inference::PredictionsMethod>(std::move(models), streams);
        },
        nb::arg("models"), nb::arg("streams") = false);
    module.def(
        "model_infer_method",
        [](std::shared_ptr<Models> models) -> std::shared_ptr<grpc::Method> {
            return std::make_shared<inference::ModelInferMethod>(std::move(models));
        },
        nb::arg("models"));
}

}  // namespace persia::bind
