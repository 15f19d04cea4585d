#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bind.hpp"
#include "serving/forward_method.hpp"
#include "serving/lookup_method.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using serving::CallCounts;
using serving::ForwardCounts;
using serving::ForwardMethod;
using serving::Histogram;
using serving::LookupContext;
using serving::LookupMethod;
using serving::ReadableEpochs;

// A method under its base, which a server takes.
std::shared_ptr<grpc::Method> lookup_method(std::shared_ptr<LookupContext> context, std::shared_ptr<tracing::SpanRing> spans) {
    return std::make_shared<LookupMethod>(std::move(context), std::move(spans));
}

std::shared_ptr<grpc::Method> forward_method(std::shared_ptr<routing::Router> router, std::uint64_t embedding_config_id,
                                             double seconds, std::shared_ptr<ForwardCounts> counts,
                                             std::shared_ptr<tracing::SpanRing> spans) {
    return std::make_shared<ForwardMethod>(std::move(router), embedding_config_id, seconds, std::move(counts),
                                           std::move(spans));
}

// An epoch, a model and its version; whom rows are for; a variant, its name, and its own versions of models; an epoch, and all
// variants from there on.
using DenseChange = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>;
using RowsKey = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>;
using Variant = std::tuple<std::uint64_t, std::string, std::map<std::uint64_t, std::uint64_t>>;
using VariantsChange = std::tuple<std::uint64_t, std::vector<Variant>>;

ReadableEpochs readable_epochs(const std::vector<DenseChange>& dense, const std::vector<VariantsChange>& variants) {
    std::vector<ReadableEpochs::DenseChange> of_models;
    for (const auto& [epoch, model, version] : dense) of_models.push_back({epoch, model, version});
    std::vector<ReadableEpochs::VariantsChange> of_variants;
    for (const auto& [epoch, there] : variants) {
        of_variants.push_back({epoch, {}});
        auto& change = of_variants.back();
        for (const auto& [id, name, own] : there) change.variants[id] = {name, own};
    }
    return ReadableEpochs(of_models, std::move(of_variants));
}

void call_totals(nb::module_& module) {
    nb::class_<Histogram::Totals>(module, "HistogramTotals")
        .def_prop_ro("seconds", [](const Histogram::Totals& self) { return static_cast<double>(self.nanoseconds) * 1e-9; })
        .def_ro("within", &Histogram::Totals::within)
        .def_ro("beyond", &Histogram::Totals::beyond);
    nb::class_<CallCounts::Totals>(module, "CallTotals")
        .def_ro("seconds", &CallCounts::Totals::seconds)
        .def_ro("by_code", &CallCounts::Totals::by_code)
        .def_ro("dropped", &CallCounts::Totals::dropped);
}

}  // namespace

void serving_methods(nb::module_& module) {
    call_totals(module);
    nb::class_<LookupContext::Totals>(module, "LookupTotals")
        .def_ro("lookups", &LookupContext::Totals::lookups)
        .def_ro("signs", &LookupContext::Totals::signs)
        .def_prop_ro("absent", [](const LookupContext::Totals& self) { return self.misses.absent; })
        .def_prop_ro("wrong_dim", [](const LookupContext::Totals& self) { return self.misses.wrong_dim; });
    nb::class_<LookupContext>(module, "LookupContext")
        .def(nb::new_([](std::uint32_t index, std::uint32_t count, std::uint64_t server_start, std::size_t max_numbers,
                         std::vector<double> bounds, std::vector<std::string> features) {
                 return std::make_shared<LookupContext>(wire::ShardPlace{index, count}, server_start, max_numbers,
                                                        std::move(bounds), std::move(features));
             }),
             nb::arg("index"), nb::arg("count"), nb::arg("server_start"), nb::arg("max_numbers"), nb::arg("bounds"),
             nb::arg("features"))
        .def("open", &LookupContext::open, nb::arg("table"), nb::arg("checkpoint_id"), nb::keep_alive<1, 2>())
        .def("add_checkpoint", &LookupContext::add_checkpoint, nb::arg("epoch"), nb::arg("checkpoint_id"))
        .def("close", &LookupContext::close)
        .def(
            "set_readable",
            [](LookupContext& self, const std::vector<DenseChange>& dense, const std::vector<VariantsChange>& variants) {
                self.set_readable(readable_epochs(dense, variants));
            },
            nb::arg("dense"), nb::arg("variants"))
        .def(
            "readable_run",
            [](const LookupContext& self, const RowsKey& rows_for, std::uint64_t low, std::uint64_t high) {
                const auto& [model, version, variant] = rows_for;
                const wire::EpochRun run = self.readable()->newest_run({model, version, variant}, low, high);
                return std::make_tuple(run.first, run.last);
            },
            nb::arg("rows_for"), nb::arg("low"), nb::arg("high"))
        .def("set_state", &LookupContext::set_state, nb::arg("state"))
        .def_prop_ro("state", &LookupContext::state)
        .def("totals", &LookupContext::totals)
        .def("call_totals", [](LookupContext& self) { return self.calls().totals(); })
        .def("variant_totals", [](LookupContext& self) { return self.variants().totals().answered; })
        .def("unknown_variants", [](LookupContext& self) { return self.variants().totals().unknown; })
        .def_prop_ro("features", &LookupContext::features, nb::rv_policy::reference_internal);
    nb::class_<ForwardCounts::Totals>(module, "ForwardTotals")
        .def_ro("asking", &ForwardCounts::Totals::asking)
        .def_prop_ro("absent", [](const ForwardCounts::Totals& self) { return self.misses.absent; })
        .def_prop_ro("wrong_dim", [](const ForwardCounts::Totals& self) { return self.misses.wrong_dim; })
        .def_ro("without_shard", &ForwardCounts::Totals::without_shard);
    nb::class_<ForwardCounts>(module, "ForwardCounts")
        .def(nb::new_([](const std::vector<double>& bounds) { return std::make_shared<ForwardCounts>(bounds); }),
             nb::arg("bounds"))
        .def("totals", &ForwardCounts::totals)
        .def("call_totals", [](ForwardCounts& self) { return self.calls().totals(); })
        .def("variant_totals", [](ForwardCounts& self) { return self.variants().totals().answered; });
    module.def("lookup_method", lookup_method, nb::arg("context"), nb::arg("spans").none() = nb::none());
    module.def("forward_method", forward_method, nb::arg("router"), nb::arg("embedding_config_id"), nb::arg("seconds"),
               nb::arg("counts"), nb::arg("spans").none() = nb::none());
}

}  // namespace persia::bind
