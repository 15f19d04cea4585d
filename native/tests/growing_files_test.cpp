#include "files/growing_files.hpp"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "check.hpp"
#include "files/row_digest.hpp"
#include "files/row_files.hpp"

using namespace persia;
namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMemory = std::size_t{1} << 20;

// A directory that goes away with the test.
struct Directory {
    fs::path path = fs::temp_directory_path() / ("persia_growing_files_" + std::to_string(::getpid()));

    Directory() { fs::create_directories(path); }
    ~Directory() { fs::remove_all(path); }
    std::vector<std::string> files(std::size_t count, const std::string& name) const {
        std::vector<std::string> all;
        for (std::size_t i = 0; i < count; ++i) all.push_back((path / (name + std::to_string(i))).string());
        return all;
    }
};

std::string bytes_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Rows of signs from `begin` to `end`, whose numbers say which sign they are of.
void add(GrowingFiles& files, std::uint64_t begin, std::uint64_t end, std::size_t dim) {
    std::vector<std::uint64_t> signs;
    std::vector<float> values;
    for (std::uint64_t sign = begin; sign < end; ++sign) {
        signs.push_back(sign);
        values.insert(values.end(), dim, static_cast<float>(sign));
    }
    files.add(signs, values, dim);
}

template <class Error, class F>
bool throws(F f) {
    try {
        f();
    } catch (const Error&) {
        return true;
    }
    return false;
}

}  // namespace

TEST(writes_what_a_writer_of_each_file_writes) {
    const Directory directory;
    const std::vector<std::string> paths = directory.files(4, "grown"), others = directory.files(4, "written");
    GrowingFiles files(paths, {}, kMemory);
    add(files, 0, 9000, 3);  // more than waits of one file
    add(files, 9000, 9100, 200);
    files.finish();
    std::vector<std::vector<std::uint64_t>> signs(4);
    for (std::uint64_t sign = 0; sign < 9100; ++sign) signs[farmhash64(sign) % 4].push_back(sign);
    for (std::size_t i = 0; i < 4; ++i) {
        EmbWriter writer(others[i], signs[i].size());
        for (const std::uint64_t sign : signs[i]) {
            const std::vector<float> row(sign < 9000 ? 3 : 200, static_cast<float>(sign));
            writer.add({&sign, 1}, row, row.size(), row.size());
        }
        writer.finish();
        CHECK(bytes_of(paths[i]) == bytes_of(others[i]));
    }
}

TEST(a_file_without_rows_is_whole) {
    const Directory directory;
    const std::vector<std::string> paths = directory.files(1, "f");
    GrowingFiles(paths, {}, kMemory).finish();
    CHECK(summarize_emb(paths[0]).rows == 0);
}

TEST(goes_on_from_where_it_was_saved) {
    for (const std::size_t memory : {std::size_t{1}, kMemory}) {
        const Directory directory;
        const std::vector<std::string> paths = directory.files(3, "stopped"), straight = directory.files(3, "straight");
        GrowingFiles all(straight, {}, memory);
        add(all, 0, 700, 5);
        all.finish();
        std::vector<Growth> saved;
        {
            GrowingFiles files(paths, {}, memory);
            add(files, 0, 400, 5);
            saved = files.save();
            add(files, 400, 600, 5);
            files.finish();  // so that the last rows have no next one
        }
        {
            GrowingFiles files(paths, saved, memory);
            add(files, 400, 700, 5);
            files.finish();
        }
        for (std::size_t i = 0; i < 3; ++i) CHECK(bytes_of(paths[i]) == bytes_of(straight[i]));
        GrowingFiles finished(paths, saved, memory);
        finished.finish();  // nothing more came, although more had been written
        CHECK(summarize_emb(paths[0]).rows == saved[0].rows);
    }
}

TEST(a_file_that_lost_what_was_saved_is_refused) {
    const Directory directory;
    const std::vector<std::string> paths = directory.files(1, "f");
    GrowingFiles files(paths, {}, kMemory);
    add(files, 0, 10, 2);
    const std::vector<Growth> saved = files.save();
    fs::resize_file(paths[0], saved[0].bytes - 1);
    CHECK(throws<CorruptFile>([&] { GrowingFiles(paths, saved, kMemory); }));
    fs::remove(paths[0]);
    CHECK(throws<IoError>([&] { GrowingFiles(paths, saved, kMemory); }));
}

TEST(wrong_shapes_are_refused) {
    const Directory directory;
    GrowingFiles files(directory.files(2, "f"), {}, kMemory);
    const std::vector<std::uint64_t> signs{1, 2};
    const std::vector<float> values(5);
    CHECK(throws<InvalidInput>([&] { files.add(signs, values, 2); }));
    CHECK(throws<InvalidInput>([&] { files.add(signs, values, 0); }));
    CHECK(throws<InvalidInput>([&] { GrowingFiles({}, {}, kMemory); }));
    CHECK(throws<InvalidInput>([&] { GrowingFiles(directory.files(2, "f"), {Growth{}}, kMemory); }));
}

TEST(a_digest_does_not_depend_on_the_order_and_does_on_all_else) {
    const Directory directory;
    const std::vector<std::string> paths = directory.files(1, "f");
    GrowingFiles files(paths, {}, kMemory);
    const std::uint64_t group = std::uint64_t{1} << 56;
    add(files, group, group + 50, 3);
    add(files, 2 * group, 2 * group + 10, 4);
    files.finish();
    const FileDigest found = digest_of_file(paths[0], 8);
    CHECK(found.signs.size() == 60 && found.groups.size() == 2);
    RowDigest backwards, changed, moved;
    for (std::uint64_t sign = group + 50; sign-- > group;) {
        std::vector<float> row(3, static_cast<float>(sign));
        backwards.add(sign, std::as_bytes(std::span(row)));
        moved.add(sign + 1, std::as_bytes(std::span(row)));
        if (sign == group + 7) row[2] += 1e12F;
        changed.add(sign, std::as_bytes(std::span(row)));
    }
    const RowDigest& first = found.groups.at(group);
    CHECK(first.rows == 50 && std::ranges::equal(first.sums, backwards.sums));
    for (const RowDigest& other : {changed, moved}) CHECK(first.sums[0] != other.sums[0] && first.sums[1] != other.sums[1]);
    CHECK(found.groups.at(2 * group).rows == 10);
    CHECK(throws<InvalidInput>([&] { digest_of_file(paths[0], 0); }));
}
