// Checkpoint files (.emb, docs/formats/checkpoint.md) that grow side by side: rows come in any order, and each is appended to
// the file of its sign, without a second copy of the rows in memory or on disk.
//
// A file says at its start how many rows it has, and in each row which one follows. Both are right only after finish(), so the
// files have to lie where nobody looks for finished ones. save() says how far they are on disk; a later object goes on from
// there.
//
// Errors: IoError where the operating system refuses, CorruptFile for a file that is shorter than it was when it was saved.
// Thread safety: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/hash.hpp"

namespace persia {

// How far a file has grown: its rows, its bytes, and the byte at which the last row begins.
struct Growth {
    std::uint64_t rows = 0;
    std::uint64_t bytes = 0;
    std::uint64_t last = 0;
};

class GrowingFiles {
  public:
    // A row goes to the file farmhash64(sign) % paths.size(). `from` is empty, and all files begin anew, or it is what save()
    // returned, and what the files have beyond it is cut off. `memory` bytes of rows wait until they are written, at most.
    GrowingFiles(std::vector<std::string> paths, const std::vector<Growth>& from, std::size_t memory);

    // signs (n); values (n, dim). Throws InvalidInput on other shapes or on a dim outside 1..65535, and TooLarge beyond
    // 4,294,967,294 rows in a file. After an error the object is not to be used, and what was saved still is.
    void add(std::span<const std::uint64_t> signs, std::span<const float> values, std::size_t dim);

    // Puts all that was added on disk, and says where the files end.
    std::vector<Growth> save();

    // Makes the files whole, and puts them on disk.
    void finish();

  private:
    struct File {
        std::string path;
        Growth growth;  // with what waits
        std::vector<std::byte> waiting;
        std::size_t used = 0;  // of `waiting`
    };

    void append(File& file, std::uint64_t sign, const float* values, std::size_t dim);
    void flush(File& file);
    void flush_all();

    std::vector<File> files_;
    ShardOf file_of_;
    std::size_t memory_;
    std::size_t waiting_ = 0;  // in all files
};

}  // namespace persia
