#include "files/row_files.hpp"

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "check.hpp"

using namespace persia;
namespace fs = std::filesystem;

namespace {

// A directory that goes away with the test.
struct Directory {
    fs::path path = fs::temp_directory_path() / ("persia_row_files_" + std::to_string(::getpid()));

    Directory() { fs::create_directories(path); }
    ~Directory() { fs::remove_all(path); }
    std::string file(const char* name = "x.emb") const { return (path / name).string(); }
    std::size_t files() const { return static_cast<std::size_t>(std::distance(fs::directory_iterator(path), {})); }
};

void write_file(const std::string& path, std::span<const std::byte> bytes) {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

struct Read {
    std::vector<std::uint64_t> signs;
    std::vector<std::uint32_t> dims;
    std::vector<float> values;
    std::vector<int> recency;
    std::size_t blocks = 0;
};

template <class Reader>
Read read_all(Reader& reader) {
    Read all;
    RowBlock block;
    while (reader.next(block)) {
        ++all.blocks;
        all.recency.insert(all.recency.end(), block.recency.begin(), block.recency.end());
        for (std::size_t i = 0; i < block.size(); ++i) {
            all.signs.push_back(block.signs[i]);
            all.dims.push_back(block.dims[i]);
            for (std::size_t k = 0; k < block.dims[i]; ++k) all.values.push_back(load<float>(block.values[i] + 4 * k));
        }
    }
    CHECK(block.size() == 0 && !reader.next(block));  // the end stays the end
    return all;
}

// A file of three rows in the order of use 2, 3, 1, and an empty node in between, field by field.
struct Wire {
    struct Node {
        std::uint32_t next, prev;
        std::uint8_t flag = 1;
        std::uint32_t length = 2;
        std::uint64_t dim = 1;
    };
    std::uint64_t count = 3;
    std::uint32_t first = 3, last = 1, free = 2, end = 4, nodes = 4;
    Node list[4] = {{0, 4}, {0, 77, 0}, {4, 0}, {1, 3}};
    std::string after;

    std::vector<std::byte> bytes() const {
        Writer out;
        out.write(count);
        for (const std::uint32_t field : {first, last, free, end, nodes}) out.write(field);
        for (const Node& node : list) {
            out.write(node.next);
            out.write(node.prev);
            out.write(node.flag);
            if (node.flag == 0) continue;
            out.write(node.length);
            out.write(1.5f);
            out.write(2.5f);
            out.write(node.dim);
            out.write(std::uint64_t{10} * node.prev);
        }
        out.bytes(std::as_bytes(std::span(after)));
        return {out.view().begin(), out.view().end()};
    }
};

std::string error_of(const std::function<void(Wire&)>& spoil) {
    Wire wire;
    spoil(wire);
    const Directory directory;
    write_file(directory.file(), wire.bytes());
    try {
        EmbReader reader(directory.file());
        RowBlock block;
        while (reader.next(block)) continue;
    } catch (const CorruptFile& error) {
        CHECK(error.path == directory.file());
        return error.what();
    }
    return "";
}

bool says(const std::string& text, const char* part) {
    if (text.find(part) != std::string::npos) return true;
    std::fprintf(stderr, "  '%s' lacks '%s'\n", text.c_str(), part);
    return false;
}

}  // namespace

TEST(reads_rows_around_empty_nodes) {
    const Directory directory;
    write_file(directory.file(), Wire{}.bytes());
    EmbReader reader(directory.file(), Recency::read);
    CHECK(reader.rows() == 3 && reader.nodes() == 4);
    const Read all = read_all(reader);
    CHECK(all.signs == (std::vector<std::uint64_t>{40, 0, 30}));
    CHECK(all.values == (std::vector<float>{1.5f, 1.5f, 1.5f}));  // without the optimizer state
    CHECK(all.recency == (std::vector<int>{2, 0, 1}));
}

TEST(refuses_each_spoiled_field_by_place) {
    CHECK(error_of([](Wire&) {}) == "");
    CHECK(says(error_of([](Wire& w) { w.count = 2; }), "at byte 0: expected the 3 rows that are in the file, got 2"));
    CHECK(says(error_of([](Wire& w) { w.count = 5; }), "at byte 0: expected at most as many rows as nodes"));
    CHECK(says(error_of([](Wire& w) { w.count = 0; }), "exactly if there are rows"));
    CHECK(says(error_of([](Wire& w) { w.first = 5; }), "at byte 8: expected a position from 0 to 4, got 5"));
    CHECK(says(error_of([](Wire& w) { w.last = 9; }), "at byte 12"));
    CHECK(says(error_of([](Wire& w) { w.free = 5; }), "at byte 16"));
    CHECK(says(error_of([](Wire& w) { w.end = 5; }), "at byte 20"));
    CHECK(says(error_of([](Wire& w) { w.nodes = 0xFFFFFFFF; }), "at byte 24: expected at most"));
    CHECK(says(error_of([](Wire& w) { w.nodes = 5; }), "bytes of a node, got 0 bytes before the end"));
    CHECK(says(error_of([](Wire& w) { w.first = 4; }), "expected a list of 3 rows, got one of 2"));
    CHECK(says(error_of([](Wire& w) { w.first = 2; }), "an empty node at position 2"));
    CHECK(says(error_of([](Wire& w) { w.last = 4; }), "a list that ends at position 4, the last, got position 1"));
    CHECK(says(error_of([](Wire& w) { w.list[0].next = 3; }), "linked on to 3"));
    CHECK(says(error_of([](Wire& w) { w.list[0].next = 5; }), "links from 0 to 4"));
    CHECK(says(error_of([](Wire& w) { w.list[2].next = 1; }), "one of 2"));
    CHECK(says(error_of([](Wire& w) { w.list[0].prev = 3; }), "mirror"));
    CHECK(says(error_of([](Wire& w) { w.list[2].prev = 1; }), "mirror"));
    CHECK(says(error_of([](Wire& w) { w.list[3].prev = 0; }), "mirror"));
    CHECK(says(error_of([](Wire& w) { w.list[2].flag = 2; }), "0 or 1 for the presence of a row, got 2"));
    CHECK(says(error_of([](Wire& w) { w.list[3].length = 0x40000000; }), "values in a row"));
    CHECK(says(error_of([](Wire& w) { w.list[0].dim = 0; }), "a dim from 1 to 2, got 0"));
    CHECK(says(error_of([](Wire& w) { w.list[0].dim = 3; }), "a dim from 1 to 2, got 3"));
    CHECK(says(error_of([](Wire& w) { w.after.assign(1, 'x'); }), "the end of the file, got 1 more bytes"));
}

TEST(refuses_every_truncation) {
    const Directory directory;
    const auto bytes = Wire{}.bytes();
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        write_file(directory.file(), std::span(bytes).first(size));
        CHECK_THROWS(
            [&] {
                EmbReader reader(directory.file());
                read_all(reader);
            }(),
            CorruptFile);
    }
}

TEST(writes_what_it_reads) {
    const Directory directory;
    const std::size_t rows = 10'000;
    std::vector<std::uint64_t> signs(rows);
    for (std::size_t i = 0; i < rows; ++i) signs[i] = i * i;
    std::vector<float> values(rows * 3);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
    EmbWriter writer(directory.file(), rows + 2);
    writer.add(signs, values, 3, 3);
    writer.add(std::span(signs).first(2), std::span(values).first(10), 5, 2);  // with optimizer state
    CHECK(!fs::exists(directory.file()));
    writer.finish();
    CHECK(directory.files() == 1);

    EmbReader reader(directory.file(), Recency::read);
    const Read all = read_all(reader);
    CHECK(all.signs.size() == rows + 2 && all.signs[9'999] == 9'999ULL * 9'999 && all.signs.back() == 1);
    CHECK(all.blocks >= 3 && all.dims.front() == 3 && all.dims.back() == 2);
    CHECK(all.values[29'999] == 29'999 && all.values.back() == 6);
    CHECK(all.recency.front() == 0 && all.recency[rows / 2 + 1] == 2 && all.recency.back() == 3);
    const EmbSummary summary = summarize_emb(directory.file());
    CHECK(summary.rows == rows + 2 && summary.rows_by_dim.at(3) == rows && summary.rows_by_dim.at(2) == 2);
}

TEST(reads_rows_longer_than_its_buffer) {
    const Directory directory;
    const std::size_t width = 300'000;
    std::vector<float> values(width);
    values[kMaxDim - 1] = 8;
    const std::vector<std::uint64_t> sign = {1};
    EmbWriter writer(directory.file(), 3);
    writer.add(sign, std::span(values).first(1), 1, 1);
    writer.add(sign, values, width, kMaxDim);
    writer.add(sign, std::span(values).first(1), 1, 1);
    writer.finish();
    EmbReader reader(directory.file());
    const Read all = read_all(reader);
    CHECK(all.dims == (std::vector<std::uint32_t>{1, 65535, 1}) && all.values[kMaxDim] == 8);
}

TEST(an_empty_file_of_each_kind) {
    const Directory directory;
    EmbWriter(directory.file(), 0).finish();
    EmbReader emb(directory.file(), Recency::read);
    CHECK(read_all(emb).signs.empty());
    IncWriter(directory.file("x.inc"), 0).finish(99);
    IncReader inc(directory.file("x.inc"));
    CHECK(read_all(inc).signs.empty() && inc.unix_seconds() == 99);
}

TEST(packets_round_trip_and_refuse) {
    const Directory directory;
    const std::vector<std::uint64_t> signs = {7, 8};
    const std::vector<float> values = {1, 2, 3, 4};
    IncWriter writer(directory.file(), 2);
    writer.add(signs, values, 2, 2);
    writer.finish(1234);
    IncReader reader(directory.file());
    const Read all = read_all(reader);
    CHECK(reader.rows() == 2 && all.signs == signs && all.values == values && reader.unix_seconds() == 1234);

    std::ifstream file(directory.file(), std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    const auto read = [&](const std::string& bytes) {
        write_file(directory.file("y.inc"), std::as_bytes(std::span(bytes)));
        IncReader spoiled(directory.file("y.inc"));
        read_all(spoiled);
    };
    for (std::size_t size = 0; size < text.size(); ++size) CHECK_THROWS(read(text.substr(0, size)), CorruptFile);
    CHECK_THROWS(read(text + "x"), CorruptFile);
    const auto with = [&text](std::size_t at, char byte) {
        std::string spoiled = text;
        spoiled[at] = byte;
        return spoiled;
    };
    CHECK_THROWS(read(with(0, 3)), CorruptFile);       // one row too many
    CHECK_THROWS(read(with(0, 1)), CorruptFile);       // one too few
    CHECK_THROWS(read(with(4, '\xff')), CorruptFile);  // the length of the first row
    CHECK_THROWS(read(with(16, 0)), CorruptFile);      // its dim
    CHECK_THROWS(read(with(16, 3)), CorruptFile);
}

TEST(a_writer_that_does_not_finish_leaves_nothing) {
    const Directory directory;
    const std::vector<std::uint64_t> signs = {1};
    const std::vector<float> values = {1};
    {
        EmbWriter writer(directory.file(), 2);
        writer.add(signs, values, 1, 1);
        CHECK_THROWS(writer.finish(), InvalidInput);
        CHECK_THROWS(writer.add(signs, values, 1, 2), InvalidInput);
        CHECK_THROWS(writer.add(signs, values, 0, 0), InvalidInput);
        CHECK_THROWS(writer.add({}, values, 1, 1), InvalidInput);
        writer.add(signs, values, 1, 1);
        CHECK_THROWS(writer.add(signs, values, 1, 1), InvalidInput);
    }
    CHECK(directory.files() == 0);
    CHECK_THROWS(EmbWriter(directory.file(), 0xFFFFFFFF), TooLarge);
}

TEST(the_system_s_refusals_name_the_path) {
    const Directory directory;
    CHECK_THROWS(EmbReader(directory.file("missing")), IoError);
    CHECK_THROWS(IncReader(directory.path.string()), IoError);
    CHECK_THROWS(EmbReader("/dev/null"), IoError);  // not a file that has a size
    CHECK_THROWS(IncWriter(directory.file("missing/x.inc"), 0), IoError);
    try {
        EmbReader reader(directory.file("missing"));
    } catch (const IoError& error) {
        CHECK(error.code == ENOENT && error.path == directory.file("missing"));
    }
}

TEST(a_file_that_shrinks_while_it_is_read_is_corrupt) {
    const Directory directory;
    const std::size_t rows = 200'000;  // more than a buffer
    EmbWriter writer(directory.file(), rows);
    writer.add(std::vector<std::uint64_t>(rows), std::vector<float>(rows), 1, 1);
    writer.finish();
    EmbReader reader(directory.file());
    RowBlock block;
    CHECK(reader.next(block));
    fs::resize_file(directory.file(), 1000);
    CHECK_THROWS(read_all(reader), CorruptFile);
}
