// Checkpoint files (.emb, docs/formats/checkpoint.md) and packet files (.inc, docs/formats/packet.md): rows out, rows in.
//
// Readers go through a file once, front to back, with plain reads into a buffer of half a megabyte (more only for a longer
// row): a file that shrinks under them is an error, never a signal. Writers are atomic: the file is there whole or not at all.
//
// Errors: CorruptFile (path, byte) for what is wrong inside a file; IoError where the operating system refuses.
// Thread safety: none per object; different objects are independent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/rows.hpp"
#include "files/finite.hpp"

namespace persia {

class FileInput;
class FileOutput;

inline constexpr std::size_t kRowsPerBlock = 4096;

enum class Recency { skip, read };

class EmbReader {
  public:
    // Reads and checks the header. Recency::read goes through the whole file once here, to learn the order of use.
    explicit EmbReader(std::string path, Recency recency = Recency::skip);
    ~EmbReader();
    EmbReader(EmbReader&&) noexcept;
    EmbReader& operator=(EmbReader&&) noexcept;

    // The next rows, in the order of the file; false (and an empty block) at the end. Only then has the whole file been
    // checked: rows that came before an error are not to be used. The optimizer state of a row is skipped.
    bool next(RowBlock& block);

    std::uint64_t rows() const { return count_; }
    std::uint32_t nodes() const { return nodes_; }  // rows and the empty places between and behind them
    const NonFinite& non_finite() const;            // of the rows that came so far
    const std::string& path() const;

  private:
    void read_header();
    bool read_node(RowBlock& block);
    void finish();
    void learn_recency();

    std::unique_ptr<FileInput> in_;
    std::uint64_t count_ = 0;
    std::uint32_t first_ = 0, last_ = 0, nodes_ = 0;
    std::uint32_t node_ = 0;  // how many were read
    std::uint64_t filled_ = 0;
    std::uint64_t next_edges_ = 0, prev_edges_ = 0;
    bool finished_ = false;
    std::vector<std::uint32_t> next_;    // per node read; all the memory that checking the list takes
    std::vector<std::uint8_t> quarter_;  // per node, if recency was asked for
};

class IncReader {
  public:
    explicit IncReader(std::string path);
    ~IncReader();
    IncReader(IncReader&&) noexcept;
    IncReader& operator=(IncReader&&) noexcept;

    // As EmbReader::next.
    bool next(RowBlock& block);

    std::uint64_t rows() const { return count_; }
    // When the packet was made. REQUIRES that next() has returned false.
    std::uint64_t unix_seconds() const { return unix_seconds_; }
    const NonFinite& non_finite() const;  // of the rows that came so far
    const std::string& path() const;

  private:
    std::unique_ptr<FileInput> in_;
    std::uint64_t count_ = 0;
    std::uint64_t row_ = 0;
    std::uint64_t unix_seconds_ = 0;
    bool finished_ = false;
};

struct EmbSummary {
    std::uint64_t rows = 0;
    std::map<std::uint32_t, std::uint64_t> rows_by_dim;
};

// Goes through the whole file, so it checks all of it.
EmbSummary summarize_emb(const std::string& path);

// Writes a checkpoint file of exactly `rows` rows, least recently used first. Nothing is at `path` before finish(), which
// returns once the file and its name are on disk; without it the rows are dropped.
class EmbWriter {
  public:
    EmbWriter(std::string path, std::uint64_t rows);
    ~EmbWriter();

    // signs (n); values (n, width), of which the first `dim` are the embedding and the rest optimizer state.
    // Throws InvalidInput on other shapes, on a dim outside 1..65535, and on more rows than announced.
    void add(std::span<const std::uint64_t> signs, std::span<const float> values, std::size_t width, std::size_t dim);
    void finish();

  private:
    std::unique_ptr<FileOutput> out_;
    std::uint64_t rows_;
    std::uint64_t added_ = 0;
};

// As EmbWriter, for a packet file.
class IncWriter {
  public:
    IncWriter(std::string path, std::uint64_t rows);
    ~IncWriter();

    void add(std::span<const std::uint64_t> signs, std::span<const float> values, std::size_t width, std::size_t dim);
    void finish(std::uint64_t unix_seconds);

  private:
    std::unique_ptr<FileOutput> out_;
    std::uint64_t rows_;
    std::uint64_t added_ = 0;
};

}  // namespace persia
