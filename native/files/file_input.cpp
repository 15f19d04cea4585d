#include "files/file_input.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace persia {

namespace {

constexpr std::size_t kBufferSize = std::size_t{512} << 10;  // fits into L2 beside what the rows go to

[[noreturn]] void refuse(const std::string& path, int error) {
    throw IoError(path, error, std::system_category().message(error));
}

}  // namespace

FileInput::FileInput(std::string path) : path_(std::move(path)) {
    // Without O_NONBLOCK, which means nothing to a regular file, a named pipe would hold the reader up for ever.
    fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd_ < 0) refuse(path_, errno);
    struct stat status{};
    if (::fstat(fd_, &status) != 0 || !S_ISREG(status.st_mode)) {
        const int error = S_ISDIR(status.st_mode) ? EISDIR : status.st_mode != 0 ? EINVAL : errno;
        ::close(fd_);
        refuse(path_, error);
    }
    size_ = static_cast<std::uint64_t>(status.st_size);
    static_cast<void>(::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL));
}

FileInput::~FileInput() { ::close(fd_); }

void FileInput::fill(std::uint64_t count, const char* what) {
    if (count > remaining()) {
        corrupt(std::to_string(count) + " bytes of " + what, std::to_string(remaining()) + " bytes before the end", position_);
    }
    const std::size_t kept = available();
    if (count > capacity_ || capacity_ == 0) {
        const auto capacity = static_cast<std::size_t>(std::max(count, std::min<std::uint64_t>(kBufferSize, remaining())));
        std::unique_ptr<std::byte[]> larger(new std::byte[capacity]);
        if (kept != 0) std::memcpy(larger.get(), data(), kept);
        buffer_ = std::move(larger);
        capacity_ = capacity;
    } else if (kept != 0) {
        std::memmove(buffer_.get(), data(), kept);
    }
    begin_ = 0;
    end_ = kept;
    const auto target = static_cast<std::size_t>(std::min<std::uint64_t>(capacity_, remaining()));
    while (end_ < target) {
        const ssize_t got = ::read(fd_, buffer_.get() + end_, target - end_);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) refuse(path_, errno);
        if (got == 0) {
            corrupt("a file of " + std::to_string(size_) + " bytes, its size when it was opened", "its end", position_ + end_);
        }
        end_ += static_cast<std::size_t>(got);
    }
}

bool take_row(FileInput& in, std::size_t lead, RowBlock& block) {
    constexpr std::size_t kTail = 8 + 8;  // dim and sign
    if (in.available() < lead + 4) {
        if (block.size() != 0) return false;
        in.fill(lead + 4, "a row");
    }
    const std::uint64_t length = load<std::uint32_t>(in.data() + lead);
    const std::uint64_t size = lead + 4 + 4 * length + kTail;
    if (in.available() < size) {
        if (size > in.remaining()) {
            in.corrupt("at most " +
                           std::to_string((std::max<std::uint64_t>(in.remaining(), lead + 4 + kTail) - lead - 4 - kTail) / 4) +
                           " values in a row, in the bytes that are left",
                       std::to_string(length), in.position() + lead);
        }
        if (block.size() != 0) return false;
        in.fill(size, "a row");
    }
    const std::byte* row = in.data() + lead;
    const auto dim = load<std::uint64_t>(row + 4 + 4 * length);
    if (dim == 0 || dim > length || dim > kMaxDim) {
        in.corrupt("a dim from 1 to " + std::to_string(std::min<std::uint64_t>(length, kMaxDim)), std::to_string(dim),
                   in.position() + lead + 4 + 4 * length);
    }
    const auto sign = load<std::uint64_t>(row + 4 + 4 * length + 8);
    if (!all_finite(row + 4, static_cast<std::size_t>(dim))) {
        if (in.non_finite.rows++ == 0) {
            in.non_finite.sign = sign;
            in.non_finite.byte = in.position() + lead;
        }
        block.non_finite.push_back(static_cast<std::uint32_t>(block.size()));
    }
    block.signs.push_back(sign);
    block.dims.push_back(static_cast<std::uint32_t>(dim));
    block.values.push_back(row + 4);
    in.skip(static_cast<std::size_t>(size));
    return true;
}

}  // namespace persia
