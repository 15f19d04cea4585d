#include "table/table.hpp"

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "base/error.hpp"
#include "bind.hpp"
#include "layer.hpp"
#include "release.hpp"
#include "table/shard_request.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using Signs = In1<std::uint64_t>;
using GilFree = nb::call_guard<Released>;

// What all lookups return: the numbers, then the counts of absent and of wrong-dim signs.
using Found2 = std::tuple<Out2<float>, std::uint64_t, std::uint64_t>;

Found2 rows_of(const Snapshot& self, const Signs& signs, std::uint32_t dim, std::uint64_t variant) {
    if (!self.has_variant(variant)) throw InvalidInput("expected a variant that the version has, got another one");
    if (dim == 0 || dim > kMaxDim) throw InvalidInput("expected a dim of 1 to 65535, got " + std::to_string(dim));
    const std::size_t n = signs.shape(0);
    NewArray<float> out(n * dim);
    Misses misses;
    {
        const Released released;
        misses = self.rows(span(signs), dim, out.data, variant);
    }
    return {Out2<float>(out.data, {n, dim}, out.owner), misses.absent, misses.wrong_dim};
}

// A variant, the layer that comes on top of what it has, which may be empty, and whether it has nothing else.
using PyVariantUpdate = std::tuple<std::uint64_t, PyLayer*, bool>;

std::uint64_t begin_epoch(Table& self, PyLayer& layer, std::uint64_t epoch, std::uint64_t onto,
                          const std::vector<PyVariantUpdate>& variants) {
    std::vector<VariantUpdate> updates;
    for (const auto& [variant, own, begins] : variants) {
        VariantUpdate& update = updates.emplace_back();
        update.variant = variant;
        update.begins = begins;
        if (own == nullptr) throw InvalidInput("expected a layer for each variant, got None");
        own->give_to([&](Layer&& held) { return update.layer.emplace(std::move(held)), 0; });
    }
    return layer.give_to([&](Layer&& held) { return self.begin_epoch(std::move(held), epoch, onto, std::move(updates)); });
}

// In pieces, so that a signal, as of Ctrl-C, gets through.
bool wait_folded(const Table& self, double seconds) {
    constexpr double kPiece = 0.1;
    const auto start = std::chrono::steady_clock::now();
    double waited = 0;
    for (;;) {
        {
            const Released released;
            if (self.wait_folded(std::min(seconds - waited, kPiece))) return true;
        }
        if (PyErr_CheckSignals() != 0) throw nb::python_error();
        waited = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        if (!(waited < seconds)) return false;
    }
}

}  // namespace

void table(nb::module_& module) {
    module.def(
        "bytes_per_row",
        [](std::string_view storage, double dim) {
            // A mean dim lies between two whole ones, and the size of a row is linear in it.
            const auto whole = static_cast<std::uint32_t>(dim);
            const RowStorage kind = row_storage_named(storage);
            const auto at = [&](std::uint32_t d) { return static_cast<double>(row_bytes(kind, d)); };
            return at(whole) + (dim - whole) * (at(whole + 1) - at(whole)) + Index::bytes_per_sign(kBaseShape);
        },
        nb::arg("storage"), nb::arg("dim"));
    nb::class_<Snapshot>(module, "Snapshot")
        .def_prop_ro("version", &Snapshot::version)
        .def_prop_ro("epoch", &Snapshot::epoch)
        .def(
            "count",
            [](const Snapshot& self, const Signs& signs) {
                const auto all = span(signs);
                return std::count_if(all.begin(), all.end(), [&](std::uint64_t sign) { return self.has(sign); });
            },
            nb::arg("signs").noconvert(), GilFree())
        .def("rows", rows_of, nb::arg("signs").noconvert(), nb::arg("dim"), nb::arg("variant") = 0)
        .def("has_variant", &Snapshot::has_variant, nb::arg("variant"))
        .def("signs", [](const Snapshot& self) {
            std::vector<std::uint64_t> signs;
            {
                const Released released;
                signs = self.signs();
            }
            return owned(std::move(signs));
        });
    nb::class_<VariantStatus>(module, "VariantStatus")
        .def_ro("rows", &VariantStatus::rows)
        .def_ro("layers", &VariantStatus::layers)
        .def_ro("bytes", &VariantStatus::bytes);
    nb::class_<TableStatus>(module, "TableStatus")
        .def_ro("version", &TableStatus::version)
        .def_ro("base_rows", &TableStatus::base_rows)
        .def_ro("base_rows_by_dim", &TableStatus::base_rows_by_dim)
        .def_ro("layer_rows", &TableStatus::layer_rows)
        .def_ro("layers", &TableStatus::layers)
        .def_ro("evicted", &TableStatus::evicted)
        .def_ro("snapshots", &TableStatus::snapshots)
        .def_ro("base_bytes", &TableStatus::base_bytes)
        .def_ro("layer_bytes", &TableStatus::layer_bytes)
        .def_ro("epoch", &TableStatus::epoch)
        .def_ro("epoch_low", &TableStatus::epoch_low)
        .def_ro("retained_epochs", &TableStatus::retained_epochs)
        .def_ro("retained_bytes", &TableStatus::retained_bytes)
        .def_ro("retained_most_bytes", &TableStatus::retained_most_bytes)
        .def_ro("epochs_given_up", &TableStatus::epochs_given_up)
        .def_ro("variants", &TableStatus::variants)
        .def_ro("variant_bytes", &TableStatus::variant_bytes)
        .def_ro("fold_error", &TableStatus::fold_error);
    nb::class_<Table>(module, "Table")
        .def(nb::init<TableBuilder&>(), nb::arg("builder"), GilFree())
        .def("pin", &Table::pin)
        .def(
            "hold_epoch", [](const Table& self, std::uint64_t epoch, double seconds) { self.hold_epoch(epoch, seconds); },
            nb::arg("epoch"), nb::arg("seconds"))
        .def(
            "pin_epoch", [](const Table& self, std::uint64_t epoch) { return self.pin_epoch(epoch).snapshot; },
            nb::arg("epoch"))
        .def(
            "publish",
            [](Table& self, PyLayer& layer) {
                return layer.give_to([&](Layer&& held) { return self.publish(std::move(held)); });
            },
            nb::arg("layer"), GilFree())
        .def("begin_epoch", begin_epoch, nb::arg("layer"), nb::arg("epoch"), nb::arg("onto"),
             nb::arg("variants") = std::vector<PyVariantUpdate>(), GilFree())
        .def("wait_folded", wait_folded, nb::arg("seconds"))
        .def("status", &Table::status);
}

}  // namespace persia::bind
