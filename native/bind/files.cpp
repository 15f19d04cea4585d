#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "base/crc32c.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"
#include "batch.hpp"
#include "bind.hpp"
#include "exclusive.hpp"
#include "files/row_files.hpp"
#include "release.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using Path = std::filesystem::path;
using Signs = In1<std::uint64_t>;
using Rows = In2<float>;

// (signs, dims, values, recency): the rows of a block one after the other in `values`, dims[i] floats each.
nb::tuple columns(RowBlock&& block, std::vector<float>&& values) {
    return nb::make_tuple(owned(std::move(block.signs)), owned(std::move(block.dims)), owned(std::move(values)),
                          owned(std::move(block.recency)));
}

template <class Reader>
nb::tuple next_block(Exclusive<Reader>& shared) {
    const typename Exclusive<Reader>::Use reader(shared);
    RowBlock block;
    std::vector<float> values;
    bool more = false;
    {
        const Released released;
        more = reader->next(block);
        std::size_t total = 0;
        for (const std::uint32_t dim : block.dims) total += dim;
        values.resize(total);
        float* to = values.data();
        for (std::size_t i = 0; i < block.size(); ++i) {
            std::memcpy(to, block.values[i], block.dims[i] * sizeof(float));
            to += block.dims[i];
        }
    }
    if (!more) throw nb::stop_iteration();
    return columns(std::move(block), std::move(values));
}

// The arrays of one call of a writer, taken out of Python so that the writing needs no GIL.
struct Block {
    Signs signs;
    Rows rows;
};

struct Blocks {
    std::vector<Block> blocks;
    std::size_t rows = 0;

    explicit Blocks(nb::handle source) {
        for (nb::handle item : source) {
            nb::tuple pair;
            if (!nb::try_cast(item, pair) || pair.size() != 2) throw InvalidInput("expected pairs (signs, rows)");
            Block block;
            if (!nb::try_cast(pair[0], block.signs, false)) throw InvalidInput("expected signs (n) of contiguous uint64");
            if (!nb::try_cast(pair[1], block.rows, false)) throw InvalidInput("expected rows (n, dim) of contiguous float32");
            if (block.rows.shape(0) != block.signs.shape(0)) {
                throw InvalidInput("expected a row for each of " + std::to_string(block.signs.shape(0)) + " signs, got " +
                                   std::to_string(block.rows.shape(0)));
            }
            rows += block.signs.shape(0);
            blocks.push_back(std::move(block));
        }
    }

    template <class Writer>
    void write(Writer& writer) const {
        for (const Block& block : blocks) {
            const std::size_t width = block.rows.shape(1);
            writer.add({block.signs.data(), block.signs.shape(0)}, {block.rows.data(), block.rows.size()}, width, width);
        }
    }
};

nb::dict summary_dict(const EmbSummary& summary) {
    nb::dict by_dim;
    for (const auto& [dim, rows] : summary.rows_by_dim) by_dim[nb::cast(dim)] = rows;
    nb::dict result;
    result["rows"] = summary.rows;
    result["rows_by_dim"] = by_dim;
    return result;
}

using Emb = Exclusive<EmbReader>;
using Inc = Exclusive<IncReader>;

std::pair<double, double> sample(Emb& shared, std::uint32_t index, std::uint32_t count) {
    if (index >= count) {
        throw InvalidInput("expected a shard index below the shard count " + std::to_string(count) + ", got " +
                           std::to_string(index));
    }
    const Emb::Use reader(shared);
    RowBlock block;
    const Released released;
    reader->next(block);
    std::uint64_t kept = 0, dims = 0;
    for (std::size_t i = 0; i < block.size(); ++i) {
        if (shard_of(block.signs[i], count) != index) continue;
        ++kept;
        dims += block.dims[i];
    }
    if (kept == 0) return {0, 0};
    return {static_cast<double>(kept) / static_cast<double>(block.size()),
            static_cast<double>(dims) / static_cast<double>(kept)};
}

std::unique_ptr<Emb> open_emb(const Path& path, bool recency) {
    const Released released;
    return std::make_unique<Emb>(path.string(), recency ? Recency::read : Recency::skip);
}

std::unique_ptr<Inc> open_inc(const Path& path) {
    const Released released;
    return std::make_unique<Inc>(path.string());
}

template <class Reader>
std::uint64_t non_finite_rows(Exclusive<Reader>& shared) {
    return typename Exclusive<Reader>::Use(shared)->non_finite().rows;
}

// Its sign and the byte where its row begins.
template <class Reader>
std::pair<std::uint64_t, std::uint64_t> first_non_finite(Exclusive<Reader>& shared) {
    const NonFinite& found = typename Exclusive<Reader>::Use(shared)->non_finite();
    return {found.sign, found.byte};
}

}  // namespace

void files(nb::module_& module) {
    nb::class_<Emb>(module, "EmbReader", "Iterates over a checkpoint file: (signs, dims, values, recency) per block.")
        .def(nb::new_(&open_emb), nb::arg("path"), nb::arg("recency") = false)
        .def("__iter__", [](nb::handle_t<Emb> self) { return nb::borrow(self); })
        .def("__next__", &next_block<EmbReader>)
        .def("sample", &sample, nb::arg("shard_index"), nb::arg("shard_count"))
        .def_prop_ro("rows", [](const Emb& self) { return self.peek().rows(); })
        .def_prop_ro("non_finite", &non_finite_rows<EmbReader>)
        .def_prop_ro("first_non_finite", &first_non_finite<EmbReader>)
        .def_prop_ro("nodes", [](const Emb& self) { return self.peek().nodes(); })
        .def_prop_ro("path", [](const Emb& self) { return file_name(self.peek().path()); });
    nb::class_<Inc>(module, "IncReader", "Iterates over a packet file: (signs, dims, values, recency) per block.")
        .def(nb::new_(&open_inc), nb::arg("path"))
        .def("__iter__", [](nb::handle_t<Inc> self) { return nb::borrow(self); })
        .def("__next__", &next_block<IncReader>)
        .def_prop_ro("rows", [](const Inc& self) { return self.peek().rows(); })
        .def_prop_ro("non_finite", &non_finite_rows<IncReader>)
        .def_prop_ro("first_non_finite", &first_non_finite<IncReader>)
        .def_prop_ro("path", [](const Inc& self) { return file_name(self.peek().path()); })
        .def_prop_ro(
            "unix_seconds", [](Inc& self) { return Inc::Use(self)->unix_seconds(); },
            "When the packet was made; 0 before the iteration has ended.");
    module.def(
        "summarize_emb",
        [](const Path& path) {
            EmbSummary summary;
            {
                const Released released;
                summary = summarize_emb(path.string());
            }
            return summary_dict(summary);
        },
        nb::arg("path"), "Checks a checkpoint file and counts its rows.");
    module.def(
        "write_emb",
        [](const Path& path, nb::handle source) {
            const Blocks blocks(source);
            const Released released;
            EmbWriter writer(path.string(), blocks.rows);
            blocks.write(writer);
            writer.finish();
        },
        nb::arg("path"), nb::arg("blocks"),
        "Writes a checkpoint file, whole or not at all. blocks: pairs of signs (n) u64 and rows (n, dim) f32.");
    module.def(
        "write_inc",
        [](const Path& path, nb::handle source, std::uint64_t unix_seconds) {
            const Blocks blocks(source);
            const Released released;
            IncWriter writer(path.string(), blocks.rows);
            blocks.write(writer);
            writer.finish(unix_seconds);
        },
        nb::arg("path"), nb::arg("blocks"), nb::arg("unix_seconds"), "As write_emb, for a packet file.");
    module.def(
        "crc32c",
        [](nb::handle data, std::uint32_t before) {
            const Buffer buffer(data, PyBUF_SIMPLE);
            const Released released;
            return crc32c(buffer.bytes(), before);
        },
        nb::arg("data"), nb::arg("before") = 0, "CRC-32C of the bytes, which follow others with the checksum `before`.");
}

}  // namespace persia::bind
