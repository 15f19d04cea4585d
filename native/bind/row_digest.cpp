#include "files/row_digest.hpp"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string_view.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "arrays.hpp"
#include "base/error.hpp"
#include "bind.hpp"
#include "release.hpp"
#include "table/row_storage.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

nb::tuple facts_of(const RowDigest& digest) { return nb::make_tuple(digest.rows, digest.sums[0], digest.sums[1]); }

nb::tuple digest_rows(const In1<std::uint64_t>& signs, const In2<float>& rows) {
    const std::size_t n = signs.shape(0), dim = rows.shape(1);
    if (rows.shape(0) != n) {
        throw InvalidInput("expected a row for each of " + std::to_string(n) + " signs, got " + std::to_string(rows.shape(0)));
    }
    RowDigest digest;
    {
        const Released released;
        const auto values = std::as_bytes(std::span(rows.data(), n * dim));
        for (std::size_t i = 0; i < n; ++i) {
            digest.add(signs.data()[i], values.subspan(i * dim * sizeof(float), dim * sizeof(float)));
        }
    }
    return facts_of(digest);
}

std::size_t inexact_rows(std::string_view storage, const In2<float>& rows) {
    const RowStorage kind = row_storage_named(storage);
    const Released released;
    return count_inexact(kind, std::as_bytes(std::span(rows.data(), rows.size())).data(), rows.shape(0),
                         static_cast<std::uint32_t>(rows.shape(1)));
}

nb::tuple digest_emb(const std::filesystem::path& path, unsigned prefix_bits) {
    FileDigest digest;
    {
        const Released released;
        digest = digest_of_file(path.string(), prefix_bits);
    }
    nb::dict groups;
    for (const auto& [prefix, group] : digest.groups) groups[nb::int_(prefix)] = facts_of(group);
    return nb::make_tuple(owned(std::move(digest.signs)), groups);
}

}  // namespace

void row_digest(nb::module_& module) {
    module.def("digest_rows", &digest_rows, nb::arg("signs").noconvert(), nb::arg("rows").noconvert(),
               "The number of rows and the two sums of their digest.");
    module.def("inexact_rows", &inexact_rows, nb::arg("storage"), nb::arg("rows").noconvert(),
               "How many rows a server with that row_storage would not give as they are.");
    module.def("digest_emb", &digest_emb, nb::arg("path"), nb::arg("prefix_bits"),
               "The signs of a checkpoint file, and digest_rows of its rows by their prefix.");
}

}  // namespace persia::bind
