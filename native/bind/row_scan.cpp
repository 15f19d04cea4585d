#include "files/row_scan.hpp"

#include <nanobind/stl/filesystem.h>

#include <filesystem>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "bind.hpp"
#include "release.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

nb::tuple scan_rows(const std::filesystem::path& path, bool packet, unsigned prefix_bits, std::uint64_t groups,
                    const In1<std::uint64_t>& wanted, double seconds) {
    RowScan scan(prefix_bits, groups, {wanted.data(), wanted.data() + wanted.shape(0)});
    bool whole = false;
    {
        const Released released;
        whole = scan_file(path.string(), packet ? RowFile::packet : RowFile::checkpoint, seconds, scan);
    }
    nb::list counts;
    for (const GroupCount& count : scan.counts()) {
        counts.append(nb::make_tuple(count.group, count.dim, count.rows, count.non_finite, count.largest));
    }
    return nb::make_tuple(scan.rows(), whole, counts, owned(std::move(scan.signs)), owned(std::move(scan.dims)),
                          owned(std::move(scan.values)), owned(std::move(scan.strays)));
}

}  // namespace

void row_scan(nb::module_& module) {
    module.def("scan_rows", &scan_rows, nb::arg("path"), nb::kw_only(), nb::arg("packet"), nb::arg("prefix_bits"),
               nb::arg("groups"), nb::arg("wanted"), nb::arg("seconds"),
               "Counts the rows of a file by group and dim, and takes out those of wanted signs.");
}

}  // namespace persia::bind
