#include "files/row_scan.hpp"

#include <unistd.h>

#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "check.hpp"
#include "files/row_files.hpp"

using namespace persia;
namespace fs = std::filesystem;

namespace {

using Signs = std::vector<std::uint64_t>;
constexpr std::uint64_t kGroup = std::uint64_t{1} << 56;

// A file that goes away with the test, with a row (3, bad) for each sign.
struct File {
    std::string path;

    explicit File(const std::vector<std::uint64_t>& signs, float bad = 0)
        : path((fs::temp_directory_path() / ("persia_row_scan_" + std::to_string(::getpid()))).string()) {
        EmbWriter writer(path, signs.size());
        std::vector<float> values;
        for (std::size_t i = 0; i < signs.size(); ++i) values.insert(values.end(), {3.0F, bad});
        writer.add(signs, values, 2, 2);
        writer.finish();
    }
    ~File() { fs::remove(path); }
};

}  // namespace

TEST(counts_by_group) {
    const File file({5, kGroup + 7, kGroup + 2, 2 * kGroup + 9, 3 * kGroup});
    RowScan scan(8, 2, {});
    CHECK(scan_file(file.path, RowFile::checkpoint, 60, scan));
    CHECK(scan.rows() == 5 && scan.signs.empty());
    const std::vector<GroupCount> counts = scan.counts();
    CHECK(counts.size() == 4);
    CHECK(counts[0].group == 0 && counts[0].rows == 1 && counts[0].largest == 5);
    CHECK(counts[1].group == 1 && counts[1].rows == 2 && counts[1].largest == 7 && counts[1].dim == 2);
    CHECK(counts[3].group == 3 && counts[3].rows == 1);
    CHECK((scan.strays == Signs{5, 3 * kGroup}));
}

TEST(finds_wanted_rows) {
    std::vector<std::uint64_t> signs, wanted;
    for (std::uint64_t i = 0; i < 10'000; ++i) signs.push_back(kGroup + 2 * i);
    for (std::uint64_t i = 0; i < 1000; ++i) wanted.push_back(kGroup + 3 * i);
    const File file(signs);
    RowScan scan(8, 1, wanted);
    CHECK(scan_file(file.path, RowFile::checkpoint, 60, scan));
    CHECK(scan.signs.size() == 500 && scan.dims.size() == 500 && scan.values.size() == 1000);
    CHECK(scan.values[998] == 3.0F);
}

TEST(counts_what_is_not_finite) {
    for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        const File file({kGroup, kGroup + 1}, bad);
        RowScan scan(8, 1, {});
        CHECK(scan_file(file.path, RowFile::checkpoint, 60, scan));
        CHECK(scan.counts()[0].non_finite == 2);
    }
}

TEST(stops_when_the_time_is_over) {
    std::vector<std::uint64_t> signs;
    for (std::uint64_t i = 0; i < 3 * kRowsPerBlock; ++i) signs.push_back(i);
    const File file(signs);
    RowScan scan(8, 1, {});
    CHECK(!scan_file(file.path, RowFile::checkpoint, 0, scan));
    CHECK(scan.rows() == kRowsPerBlock && scan.strays.size() == RowScan::kStrays);
}

TEST(refuses_what_it_cannot_count_by) {
    CHECK_THROWS(RowScan(0, 1, Signs{}), InvalidInput);
    CHECK_THROWS(RowScan(64, 1, Signs{}), InvalidInput);
    CHECK_THROWS(RowScan(8, 2'000'000, Signs{}), InvalidInput);
    CHECK_THROWS(RowScan(8, 1, Signs{2, 1}), InvalidInput);
}
