// A file read front to back through one buffer, and the row that both file formats share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/bytes.hpp"
#include "files/row_files.hpp"

namespace persia {

class FileInput {
  public:
    explicit FileInput(std::string path);
    ~FileInput();
    FileInput(const FileInput&) = delete;
    FileInput& operator=(const FileInput&) = delete;

    const std::string& path() const { return path_; }
    std::uint64_t position() const { return position_; }           // in the file, of data()
    std::uint64_t remaining() const { return size_ - position_; }  // in the file
    std::size_t available() const { return end_ - begin_; }        // in the buffer
    const std::byte* data() const { return buffer_.get() + begin_; }

    NonFinite non_finite;  // of the rows that were taken

    // Makes at least `count` bytes available. Moves what is buffered, so pointers into the buffer die. Throws CorruptFile
    // if the file has fewer, before any memory is asked for.
    void fill(std::uint64_t count, const char* what);

    // REQUIRES count <= available().
    void skip(std::size_t count) {
        begin_ += count;
        position_ += count;
    }

    template <class T>
    T read(const char* what) {
        if (available() < sizeof(T)) fill(sizeof(T), what);
        const T value = load<T>(data());
        skip(sizeof(T));
        return value;
    }

    [[noreturn]] void corrupt(std::string expected, std::string got, std::uint64_t byte) const {
        throw CorruptFile(path_, DecodeError(std::move(expected), std::move(got), byte));
    }

  private:
    std::string path_;
    int fd_ = -1;
    std::uint64_t size_ = 0;
    std::uint64_t position_ = 0;
    std::unique_ptr<std::byte[]> buffer_;
    std::size_t capacity_ = 0;
    std::size_t begin_ = 0, end_ = 0;
};

// Appends the row that starts `lead` bytes ahead, and skips it and the lead. Returns false, with nothing done, if the row
// is not wholly in the buffer while the block has rows, whose values a refill would move.
bool take_row(FileInput& in, std::size_t lead, RowBlock& block);

}  // namespace persia
