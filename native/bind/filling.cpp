#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"
#include "bind.hpp"
#include "files/row_files.hpp"
#include "layer.hpp"
#include "loading.hpp"
#include "release.hpp"
#include "table/expiry.hpp"
#include "table/table.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using Path = std::filesystem::path;
using Signs = In1<std::uint64_t>;
using Rows = In2<float>;
using GilFree = nb::call_guard<Released>;

bool is_of(std::uint64_t sign, Shard only) { return only.count == 1 || shard_of(sign, only.count) == only.index; }

void check_ends(const Signs& signs, const Signs& ends) {
    if (signs.shape(0) == ends.shape(0)) return;
    throw InvalidInput("expected an end for each of " + std::to_string(signs.shape(0)) + " signs, got " +
                       std::to_string(ends.shape(0)));
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

void bind_builder(nb::module_& module) {
    nb::class_<TableBuilder>(module, "TableBuilder")
        .def(
            "__init__",
            [](TableBuilder* self, std::string_view storage, std::uint64_t capacity, std::size_t retained_epochs,
               double retained_share) {
                new (self) TableBuilder({row_storage_named(storage), capacity, retained_epochs, retained_share});
            },
            nb::arg("storage") = "f32", nb::arg("capacity") = 0, nb::arg("retained_epochs") = 8,
            nb::arg("retained_share") = 0.1)
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
            [](TableBuilder& self, const Path& path, std::uint32_t index, std::uint32_t count, NonFiniteRows* non_finite) {
                const Shard only = shard(index, count);
                // The order of use decides what is kept, so it is only worth reading where not all is.
                try {
                    EmbReader reader(path.string(), self.options().capacity == 0 ? Recency::skip : Recency::read);
                    return put_file(reader, only, non_finite, [&](const RowBlock& block) { return self.put(block, only); });
                } catch (const std::exception& error) {
                    self.spoil("loading " + path.string() + " failed " + error.what());
                    throw;
                }
            },
            nb::arg("path"), nb::arg("shard_index") = 0, nb::arg("shard_count") = 1, nb::arg("non_finite") = nb::none(),
            GilFree())
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
            [](PyLayer& self, const Path& path, std::uint32_t index, std::uint32_t count, NonFiniteRows* non_finite) {
                const Shard only = shard(index, count);
                return self.load([&](Layer& layer) {
                    IncReader reader(path.string());
                    layer.rows.index().reserve(reader.rows() / count);
                    const std::uint64_t kept = put_file(reader, only, non_finite,
                                                        [&](const RowBlock& block) { return layer.rows.put(block, only, 3); });
                    return std::pair(kept, reader.unix_seconds());
                });
            },
            nb::arg("path"), nb::arg("shard_index") = 0, nb::arg("shard_count") = 1, nb::arg("non_finite") = nb::none(),
            GilFree())
        .def(
            "add_tombstones",
            [](PyLayer& self, const Signs& signs, std::uint32_t index, std::uint32_t count) {
                const Shard only = shard(index, count);
                self.with([&](Layer& layer) {
                    for (const std::uint64_t sign : span(signs)) {
                        if (is_of(sign, only)) layer.add_tombstone(sign);
                    }
                });
            },
            nb::arg("signs").noconvert(), nb::arg("shard_index") = 0, nb::arg("shard_count") = 1, GilFree())
        .def(
            "set_ends",
            [](PyLayer& self, const Signs& signs, const Signs& ends, std::uint32_t index, std::uint32_t count) {
                const Shard only = shard(index, count);
                check_ends(signs, ends);
                self.with([&](Layer& layer) {
                    for (std::size_t i = 0; i < signs.shape(0); ++i) {
                        if (is_of(signs.data()[i], only)) layer.ends.push_back({signs.data()[i], ends.data()[i]});
                    }
                });
            },
            nb::arg("signs").noconvert(), nb::arg("ends").noconvert(), nb::arg("shard_index") = 0, nb::arg("shard_count") = 1,
            GilFree())
        .def(
            "forget", [](PyLayer& self, const Signs& signs) { self.with([&](Layer& layer) { layer.forget(span(signs)); }); },
            nb::arg("signs").noconvert(), GilFree())
        .def_prop_ro(
            "has_ends", [](PyLayer& self) { return self.with([](Layer& layer) { return !layer.ends.empty(); }); }, GilFree())
        .def_prop_ro(
            "size", [](PyLayer& self) { return self.with([](Layer& layer) { return layer.rows.index().size(); }); }, GilFree())
        .def_prop_ro(
            "bytes", [](PyLayer& self) { return self.with([](Layer& layer) { return layer.rows.bytes(); }); }, GilFree());
}

// Locked, because the GIL is released while it is looked through.
class PyExpiry {
  public:
    template <class F>
    auto with(F f) {
        const std::lock_guard lock(mutex_);
        return f(expiry_);
    }

  private:
    std::mutex mutex_;
    Expiry expiry_;
};

void bind_expiry(nb::module_& module) {
    nb::class_<PyExpiry>(module, "Expiry")
        .def(nb::init<>())
        .def(
            "set",
            [](PyExpiry& self, const Signs& signs, const Signs& ends, std::uint32_t index, std::uint32_t count) {
                const Shard only = shard(index, count);
                check_ends(signs, ends);
                self.with([&](Expiry& expiry) { expiry.set(span(signs), span(ends), only); });
            },
            nb::arg("signs").noconvert(), nb::arg("ends").noconvert(), nb::arg("shard_index") = 0, nb::arg("shard_count") = 1,
            GilFree())
        .def(
            "follow",
            [](PyExpiry& self, PyLayer& layer, const Snapshot& before, std::uint64_t now) {
                const Gone gone = self.with(
                    [&](Expiry& expiry) { return layer.with([&](Layer& held) { return expiry.follow(held, before, now); }); });
                return std::pair(gone.deleted, gone.expired);
            },
            nb::arg("layer"), nb::arg("before"), nb::arg("now"), GilFree())
        .def(
            "take_ended",
            [](PyExpiry& self, std::uint64_t now) {
                std::vector<std::uint64_t> ended;
                {
                    const Released released;
                    ended = self.with([&](Expiry& expiry) { return expiry.take_ended(now); });
                }
                return owned(std::move(ended));
            },
            nb::arg("now"))
        .def("signs",
             [](PyExpiry& self) {
                 std::vector<std::uint64_t> signs;
                 {
                     const Released released;
                     signs = self.with([](Expiry& expiry) { return expiry.signs(); });
                 }
                 return owned(std::move(signs));
             })
        .def_prop_ro(
            "size", [](PyExpiry& self) { return self.with([](Expiry& expiry) { return expiry.size(); }); }, GilFree())
        .def_prop_ro(
            "bytes", [](PyExpiry& self) { return self.with([](Expiry& expiry) { return expiry.bytes(); }); }, GilFree());
}

void bind_non_finite(nb::module_& module) {
    nb::class_<NonFiniteRows>(module, "NonFiniteRows")
        .def(
            "__init__", [](NonFiniteRows* self, bool refuse) { new (self) NonFiniteRows{refuse, {}, 0}; },
            nb::arg("refuse") = false)
        .def_prop_ro("rows", [](const NonFiniteRows& self) { return self.found.rows; })
        .def_prop_ro("first_sign", [](const NonFiniteRows& self) { return self.found.sign; })
        .def_prop_ro("first_byte", [](const NonFiniteRows& self) { return self.found.byte; })
        .def_ro("kept", &NonFiniteRows::kept);
}

}  // namespace

void filling(nb::module_& module) {
    bind_non_finite(module);
    bind_builder(module);
    bind_layer(module);
    bind_expiry(module);
}

}  // namespace persia::bind
