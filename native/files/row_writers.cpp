#include <limits>

#include "files/file_output.hpp"
#include "files/row_files.hpp"

namespace persia {

namespace {

void check_shapes(std::size_t signs, std::size_t values, std::size_t width, std::size_t dim) {
    if (dim < 1 || dim > kMaxDim || width < dim) {
        throw InvalidInput("expected a dim from 1 to 65535 within the width of a row, got dim " + std::to_string(dim) +
                           " of width " + std::to_string(width));
    }
    if (values / width != signs || values % width != 0) {
        throw InvalidInput("expected " + std::to_string(signs) + " rows of " + std::to_string(width) + " values, got " +
                           std::to_string(values) + " values");
    }
    if (width > std::numeric_limits<std::uint32_t>::max()) throw TooLarge("expected at most 4294967295 values in a row");
}

void check_room(std::uint64_t rows, std::uint64_t added, std::size_t more) {
    if (more <= rows - added) return;
    throw InvalidInput("expected " + std::to_string(rows) + " rows, as announced, got at least " +
                       std::to_string(added + more));
}

void check_complete(std::uint64_t rows, std::uint64_t added) {
    if (added == rows) return;
    throw InvalidInput("expected " + std::to_string(rows) + " rows, as announced, got " + std::to_string(added));
}

// The list positions are u32 and 1-based, and the largest stands for "no row" in memory.
std::uint64_t at_most_a_list(std::uint64_t rows) {
    if (rows < std::numeric_limits<std::uint32_t>::max()) return rows;
    throw TooLarge("expected at most 4294967294 rows in a file, got " + std::to_string(rows));
}

void write_row(Writer& out, std::uint64_t sign, std::span<const float> values, std::size_t dim) {
    out.length(values.size());
    out.bytes(std::as_bytes(values));
    out.write(std::uint64_t{dim});
    out.write(sign);
}

}  // namespace

EmbWriter::EmbWriter(std::string path, std::uint64_t rows) : rows_(at_most_a_list(rows)) {
    out_ = std::make_unique<FileOutput>(std::move(path));
    const auto count = static_cast<std::uint32_t>(rows);
    Writer& out = out_->writer();
    out.write(rows);
    out.write(std::uint32_t{count != 0});  // first
    out.write(count);                      // last
    out.write(std::uint32_t{0});           // free: no empty node
    out.write(count);                      // end
    out.write(count);                      // nodes
}

EmbWriter::~EmbWriter() = default;

void EmbWriter::add(std::span<const std::uint64_t> signs, std::span<const float> values, std::size_t width, std::size_t dim) {
    check_shapes(signs.size(), values.size(), width, dim);
    check_room(rows_, added_, signs.size());
    Writer& out = out_->writer();
    for (std::size_t i = 0; i < signs.size(); ++i) {
        const auto position = static_cast<std::uint32_t>(added_ + 1);
        out.write(position == rows_ ? 0 : position + 1);  // next
        out.write(position - 1);                          // prev
        out.write(std::uint8_t{1});
        write_row(out, signs[i], values.subspan(i * width, width), dim);
        out_->flush_if_full();
        ++added_;
    }
}

void EmbWriter::finish() {
    check_complete(rows_, added_);
    out_->commit();
}

IncWriter::IncWriter(std::string path, std::uint64_t rows) : rows_(at_most_a_list(rows)) {
    out_ = std::make_unique<FileOutput>(std::move(path));
    out_->writer().write(static_cast<std::uint32_t>(rows));
}

IncWriter::~IncWriter() = default;

void IncWriter::add(std::span<const std::uint64_t> signs, std::span<const float> values, std::size_t width, std::size_t dim) {
    check_shapes(signs.size(), values.size(), width, dim);
    check_room(rows_, added_, signs.size());
    for (std::size_t i = 0; i < signs.size(); ++i) {
        write_row(out_->writer(), signs[i], values.subspan(i * width, width), dim);
        out_->flush_if_full();
        ++added_;
    }
}

void IncWriter::finish(std::uint64_t unix_seconds) {
    check_complete(rows_, added_);
    out_->writer().write(unix_seconds);
    out_->commit();
}

}  // namespace persia
