#include "files/growing_files.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <system_error>
#include <utility>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/rows.hpp"

namespace persia {

namespace {

constexpr std::size_t kHeaderSize = 8 + 4 * 4 + 4;
constexpr std::size_t kLinks = 4 + 4 + 1;        // before a row: the next one, the one before, and that there is a row
constexpr std::size_t kAround = 4 + 8 + 8;       // around its values: how many, the dim, the sign
constexpr std::size_t kFlushSize = 256UL << 10;  // of one file
constexpr std::size_t kMaxFiles = std::size_t{1} << 20;
constexpr std::uint64_t kMaxRows = std::numeric_limits<std::uint32_t>::max() - std::uint64_t{1};

// A file that is open for writing while it is written: there may be more files than the system lets a process have open.
class Opened {
  public:
    Opened(const std::string& path, int flags) : path_(path), fd_(::open(path.c_str(), O_WRONLY | O_CLOEXEC | flags, 0666)) {
        if (fd_ < 0) refuse();
    }
    ~Opened() { ::close(fd_); }
    Opened(const Opened&) = delete;
    Opened& operator=(const Opened&) = delete;

    void write(std::span<const std::byte> bytes, std::uint64_t at) const {
        while (!bytes.empty()) {
            const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(at));
            if (written < 0 && errno == EINTR) continue;
            if (written < 0) refuse();
            bytes = bytes.subspan(static_cast<std::size_t>(written));
            at += static_cast<std::uint64_t>(written);
        }
    }

    std::uint64_t size() const {
        const off_t end = ::lseek(fd_, 0, SEEK_END);
        if (end < 0) refuse();
        return static_cast<std::uint64_t>(end);
    }

    void cut(std::uint64_t size) const {
        if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) refuse();
    }

    void sync() const {
        if (::fsync(fd_) != 0) refuse();
    }

  private:
    [[noreturn]] void refuse() const {
        const int error = errno;
        throw IoError(path_, error, std::system_category().message(error));
    }

    const std::string& path_;
    int fd_;
};

// Of a file whose rows follow each other in the order in which they were used, as EmbWriter writes it.
std::vector<std::byte> header(std::uint64_t rows) {
    const auto count = static_cast<std::uint32_t>(rows);
    std::vector<std::byte> bytes(kHeaderSize);
    store(bytes.data(), rows);
    store(bytes.data() + 8, std::uint32_t{count != 0});  // first
    store(bytes.data() + 12, count);                     // last
    store(bytes.data() + 16, std::uint32_t{0});          // free: no empty node
    store(bytes.data() + 20, count);                     // end
    store(bytes.data() + 24, count);                     // nodes
    return bytes;
}

void cut_back(const std::string& path, const Growth& to) {
    const Opened file(path, 0);
    if (file.size() < to.bytes) {
        throw CorruptFile(path, DecodeError(std::to_string(to.bytes) + " bytes, as when it was saved",
                                            std::to_string(file.size()), static_cast<std::size_t>(file.size())));
    }
    file.cut(to.bytes);
    if (to.rows == 0) return;
    std::byte next[4];
    store(next, static_cast<std::uint32_t>(to.rows + 1));
    file.write(next, to.last);  // finish() may have said that no row follows, and was stopped then
}

std::uint32_t file_count(std::size_t count) {
    if (count >= 1 && count <= kMaxFiles) return static_cast<std::uint32_t>(count);
    throw InvalidInput("expected 1 to 1048576 files, got " + std::to_string(count));
}

}  // namespace

GrowingFiles::GrowingFiles(std::vector<std::string> paths, const std::vector<Growth>& from, std::size_t memory)
    : file_of_(file_count(paths.size())), memory_(memory) {
    if (!from.empty() && from.size() != paths.size()) {
        throw InvalidInput("expected how far each of " + std::to_string(paths.size()) + " files has grown, got " +
                           std::to_string(from.size()));
    }
    for (std::size_t i = 0; i < paths.size(); ++i) {
        File& file = files_.emplace_back(File{std::move(paths[i]), {}, {}, 0});
        if (from.empty()) {
            Opened(file.path, O_CREAT | O_TRUNC).write(header(0), 0);
            file.growth.bytes = kHeaderSize;
        } else {
            cut_back(file.path, from[i]);
            file.growth = from[i];
        }
    }
}

void GrowingFiles::add(std::span<const std::uint64_t> signs, std::span<const float> values, std::size_t dim) {
    if (dim < 1 || dim > kMaxDim) throw InvalidInput("expected a dim from 1 to 65535, got " + std::to_string(dim));
    if (values.size() / dim != signs.size() || values.size() % dim != 0) {
        throw InvalidInput("expected " + std::to_string(signs.size()) + " rows of " + std::to_string(dim) + " values, got " +
                           std::to_string(values.size()) + " values");
    }
    for (std::size_t i = 0; i < signs.size(); ++i) append(files_[file_of_(signs[i])], signs[i], values.data() + i * dim, dim);
}

void GrowingFiles::append(File& file, std::uint64_t sign, const float* values, std::size_t dim) {
    if (file.growth.rows == kMaxRows) throw TooLarge("expected at most 4294967294 rows in a file: " + file.path);
    const std::size_t size = kLinks + kAround + dim * sizeof(float);
    if (file.used + size > file.waiting.size()) {
        // Not more than it may have: there are up to a million files.
        file.waiting.resize(std::max(file.used + size, std::min(2 * file.waiting.size() + 4096, kFlushSize + size)));
    }
    const auto position = static_cast<std::uint32_t>(file.growth.rows + 1);
    std::byte* to = file.waiting.data() + file.used;
    store(to, position + 1);  // next; finish() knows which one has none
    store(to + 4, position - 1);
    store(to + 8, std::uint8_t{1});
    store(to + 9, static_cast<std::uint32_t>(dim));
    std::memcpy(to + 13, values, dim * sizeof(float));
    store(to + 13 + dim * sizeof(float), std::uint64_t{dim});
    store(to + 21 + dim * sizeof(float), sign);
    file.used += size;
    file.growth.last = file.growth.bytes;
    file.growth.bytes += size;
    ++file.growth.rows;
    waiting_ += size;
    if (file.used >= kFlushSize) flush(file);
    if (waiting_ >= memory_) flush_all();
}

void GrowingFiles::flush(File& file) {
    if (file.used == 0) return;
    Opened(file.path, 0).write({file.waiting.data(), file.used}, file.growth.bytes - file.used);
    waiting_ -= file.used;
    file.used = 0;
}

void GrowingFiles::flush_all() {
    for (File& file : files_) flush(file);
}

std::vector<Growth> GrowingFiles::save() {
    std::vector<Growth> growths;
    flush_all();
    for (const File& file : files_) {
        Opened(file.path, 0).sync();
        growths.push_back(file.growth);
    }
    return growths;
}

void GrowingFiles::finish() {
    flush_all();
    for (const File& file : files_) {
        const Opened opened(file.path, 0);
        if (file.growth.rows != 0) {
            const std::byte none[4] = {};
            opened.write(none, file.growth.last);
        }
        opened.write(header(file.growth.rows), 0);
        opened.sync();
    }
}

}  // namespace persia
