#include "files/growing_files.hpp"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "base/error.hpp"
#include "bind.hpp"
#include "exclusive.hpp"
#include "release.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using Files = Exclusive<GrowingFiles>;
using Numbers = std::vector<std::vector<std::uint64_t>>;  // rows, bytes and last of each file

std::unique_ptr<Files> open_files(const std::vector<std::filesystem::path>& paths, const Numbers& from, std::size_t memory) {
    const Released released;
    std::vector<std::string> names;
    for (const std::filesystem::path& path : paths) names.push_back(path.string());
    std::vector<Growth> growths;
    for (const std::vector<std::uint64_t>& numbers : from) {
        if (numbers.size() != 3) throw InvalidInput("expected the rows, the bytes and the last row's byte of each file");
        growths.push_back({numbers[0], numbers[1], numbers[2]});
    }
    return std::make_unique<Files>(std::move(names), growths, memory);
}

Numbers save(Files& shared) {
    const Files::Use files(shared);
    Numbers all;
    const Released released;
    for (const Growth& growth : files->save()) all.push_back({growth.rows, growth.bytes, growth.last});
    return all;
}

}  // namespace

void growing_files(nb::module_& module) {
    nb::class_<Files>(module, "GrowingFiles", "Checkpoint files that grow side by side.")
        .def(nb::new_(&open_files), nb::arg("paths"), nb::kw_only(), nb::arg("saved") = Numbers(), nb::arg("memory"))
        .def(
            "add",
            [](Files& shared, const In1<std::uint64_t>& signs, const In2<float>& rows) {
                const Files::Use files(shared);
                const Released released;
                files->add(span(signs), {rows.data(), rows.size()}, rows.shape(1));
            },
            nb::arg("signs").noconvert(), nb::arg("rows").noconvert())
        .def("save", &save)
        .def("finish", [](Files& shared) {
            const Files::Use files(shared);
            const Released released;
            files->finish();
        });
}

}  // namespace persia::bind
