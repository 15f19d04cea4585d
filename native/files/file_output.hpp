// A file that appears under its name whole or not at all.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/bytes.hpp"

namespace persia {

class FileOutput {
  public:
    // Starts a temporary file beside `path`.
    explicit FileOutput(std::string path);
    // Removes the temporary file, unless commit() has returned.
    ~FileOutput();
    FileOutput(const FileOutput&) = delete;
    FileOutput& operator=(const FileOutput&) = delete;

    // What is appended here is written out by flush_if_full(), so that a caller appends many small fields at memory speed.
    Writer& writer() { return writer_; }
    void flush_if_full();

    // Puts the bytes on disk, then the name, replacing a file of that name. Nothing may be written afterwards.
    void commit();

  private:
    void flush();

    std::string path_, temporary_;
    int fd_ = -1;
    Writer writer_;
};

}  // namespace persia
