#include "persia/table.hpp"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

#include "arrays.hpp"
#include "bind.hpp"
#include "persia/error.hpp"
#include "persia/row_files.hpp"
#include "persia/shard_request.hpp"
#include "release.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using Path = std::filesystem::path;
using Signs = In1<std::uint64_t>;
using Rows = In2<float>;
using GilFree = nb::call_guard<Released>;

// A layer until it is published. Locked, because the GIL is released while it is filled.
class PyLayer {
  public:
    explicit PyLayer(std::string_view storage) : layer_(std::in_place, row_storage_named(storage)) {}

    template <class F>
    auto with(F f) {
        const std::lock_guard lock(mutex_);
        return f(held());
    }

    // As with(), but after an error there is no layer: what was read until then can never be published.
    template <class F>
    auto load(F f) {
        const std::lock_guard lock(mutex_);
        Layer& layer = held();
        try {
            return f(layer);
        } catch (...) {
            layer_.reset();
            throw;
        }
    }

    std::uint64_t publish(Table& table) {
        return with([&](Layer& layer) {
            const std::uint64_t version = table.publish(std::move(layer));
            layer_.reset();
            return version;
        });
    }

  private:
    Layer& held() {
        if (!layer_) throw InvalidInput("expected a layer that is not published yet, and whose files could be read");
        return *layer_;
    }

    std::mutex mutex_;
    std::optional<Layer> layer_;
};

Shard shard(std::uint32_t index, std::uint32_t count) {
    if (index < count) return {index, count};
    throw InvalidInput("expected a shard index below the shard count " + std::to_string(count) + ", got " +
                       std::to_string(index));
}

// put(block) for all rows of two arrays, a piece at a time so that the block's columns stay in the cache.
template <class Put>
std::uint64_t put_arrays(const Signs& signs, const Rows& rows, Put put) {
    const std::size_t n = signs.shape(0);
    const std::size_t dim = rows.shape(1);
    if (rows.shape(0) != n) {
        throw InvalidInput("expected a row for each of " + std::to_string(n) + " signs, got " + std::to_string(rows.shape(0)));
    }
    if (dim == 0 || dim > kMaxDim) throw InvalidInput("expected a dim of 1 to 65535, got " + std::to_string(dim));
    std::uint64_t kept = 0;
    RowBlock block;
    for (std::size_t begin = 0; begin < n; begin += kRowsPerBlock) {
        const std::size_t end = std::min(n, begin + kRowsPerBlock);
        block.clear();
        block.signs.assign(signs.data() + begin, signs.data() + end);
        block.dims.assign(end - begin, static_cast<std::uint32_t>(dim));
        for (std::size_t i = begin; i < end; ++i) {
            block.values.push_back(reinterpret_cast<const std::byte*>(rows.data() + i * dim));
        }
        kept += put(block);
    }
    return kept;
}

template <class Reader, class Put>
std::uint64_t put_file(Reader& reader, Put put) {
    std::uint64_t kept = 0;
    for (RowBlock block; reader.next(block);) kept += put(block);
    return kept;
}

void bind_builder(nb::module_& module) {
    nb::class_<TableBuilder>(module, "TableBuilder")
        .def(
            "__init__",
            [](TableBuilder* self, std::string_view storage, std::uint64_t capacity) {
                new (self) TableBuilder({row_storage_named(storage), capacity});
            },
            nb::arg("storage") = "f32", nb::arg("capacity") = 0)
        .def(
            "put",
            [](TableBuilder& self, const Signs& signs, const Rows& rows, std::uint32_t index, std::uint32_t count) {
                const Shard only = shard(index, count);
                return put_arrays(signs, rows, [&](const RowBlock& block) { return self.put(block, only); });
            },
            nb::arg("signs").noconvert(), nb::arg("rows").noconvert(), nb::arg("shard_index") = 0, nb::arg("shard_count") = 1,
            GilFree())
        .def(
            "load_emb",
            [](TableBuilder& self, const Path& path, std::uint32_t index, std::uint32_t count) {
                const Shard only = shard(index, count);
                // The order of use decides what is kept, so it is only worth reading where not all is.
                try {
                    EmbReader reader(path.string(), self.options().capacity == 0 ? Recency::skip : Recency::read);
                    return put_file(reader, [&](const RowBlock& block) { return self.put(block, only); });
                } catch (const std::exception& error) {
                    self.spoil("loading " + path.string() + " failed " + error.what());
                    throw;
                }
            },
            nb::arg("path"), nb::arg("shard_index") = 0, nb::arg("shard_count") = 1, GilFree())
        .def("reserve", &TableBuilder::reserve, nb::arg("rows"), GilFree())
        // These wait for whoever is filling the builder, and so must not hold the GIL.
        .def_prop_ro("rows", &TableBuilder::rows, GilFree())
        .def_prop_ro("bytes", &TableBuilder::bytes, GilFree())
        .def_prop_ro("evicted", &TableBuilder::evicted, GilFree());
}

void bind_layer(nb::module_& module) {
    nb::class_<PyLayer>(module, "Layer")
        .def(nb::init<std::string_view>(), nb::arg("storage") = "f32")
        .def(
            "put",
            [](PyLayer& self, const Signs& signs, const Rows& rows, std::uint32_t index, std::uint32_t count) {
                const Shard only = shard(index, count);
                return self.with([&](Layer& layer) {
                    layer.rows.index().reserve(signs.shape(0) / count);
                    return put_arrays(signs, rows, [&](const RowBlock& block) { return layer.rows.put(block, only, 3); });
                });
            },
            nb::arg("signs").noconvert(), nb::arg("rows").noconvert(), nb::arg("shard_index") = 0, nb::arg("shard_count") = 1,
            GilFree())
        .def(
            "reserve",
            [](PyLayer& self, std::uint64_t rows) { self.with([&](Layer& layer) { layer.rows.index().reserve(rows); }); },
            nb::arg("rows"), GilFree())
        .def(
            "load_inc",
            [](PyLayer& self, const Path& path, std::uint32_t index, std::uint32_t count) {
                const Shard only = shard(index, count);
                return self.load([&](Layer& layer) {
                    IncReader reader(path.string());
                    layer.rows.index().reserve(reader.rows() / count);
                    const std::uint64_t kept =
                        put_file(reader, [&](const RowBlock& block) { return layer.rows.put(block, only, 3); });
                    return std::pair(kept, reader.unix_seconds());
                });
            },
            nb::arg("path"), nb::arg("shard_index") = 0, nb::arg("shard_count") = 1, GilFree())
        .def(
            "delete",
            [](PyLayer& self, const Signs& signs) {
                self.with([&](Layer& layer) {
                    for (const std::uint64_t sign : span(signs)) layer.rows.mark_deleted(sign);
                });
            },
            nb::arg("signs").noconvert(), GilFree())
        .def(
            "drop",
            [](PyLayer& self, const Signs& signs) {
                self.with([&](Layer& layer) {
                    for (const std::uint64_t sign : span(signs)) layer.rows.erase(sign);
                });
            },
            nb::arg("signs").noconvert(), GilFree())
        .def_prop_ro(
            "size", [](PyLayer& self) { return self.with([](Layer& layer) { return layer.rows.index().size(); }); }, GilFree())
        .def_prop_ro(
            "bytes", [](PyLayer& self) { return self.with([](Layer& layer) { return layer.rows.bytes(); }); }, GilFree());
}

// What all lookups return: the numbers, then the counts of absent and of wrong-dim signs.
using Found2 = std::tuple<Out2<float>, std::uint64_t, std::uint64_t>;

Found2 rows_of(const Snapshot& self, const Signs& signs, std::uint32_t dim) {
    if (dim == 0 || dim > kMaxDim) throw InvalidInput("expected a dim of 1 to 65535, got " + std::to_string(dim));
    const std::size_t n = signs.shape(0);
    NewArray<float> out(n * dim);
    Misses misses;
    {
        const Released released;
        misses = self.rows(span(signs), dim, out.data);
    }
    return {Out2<float>(out.data, {n, dim}, out.owner), misses.absent, misses.wrong_dim};
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
    bind_builder(module);
    bind_layer(module);
    nb::class_<Snapshot>(module, "Snapshot")
        .def_prop_ro("version", &Snapshot::version)
        .def("rows", rows_of, nb::arg("signs").noconvert(), nb::arg("dim"))
        .def("signs", [](const Snapshot& self) {
            std::vector<std::uint64_t> signs;
            {
                const Released released;
                signs = self.signs();
            }
            return owned(std::move(signs));
        });
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
        .def_ro("fold_error", &TableStatus::fold_error);
    nb::class_<Table>(module, "Table")
        .def(nb::init<TableBuilder&>(), nb::arg("builder"), GilFree())
        .def("pin", &Table::pin)
        .def(
            "publish", [](Table& self, PyLayer& layer) { return layer.publish(self); }, nb::arg("layer"), GilFree())
        .def("wait_folded", wait_folded, nb::arg("seconds"))
        .def("status", &Table::status);
}

}  // namespace persia::bind
