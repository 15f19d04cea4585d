#include "files/file_output.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <system_error>

namespace persia {

namespace {

constexpr std::size_t kFlushSize = std::size_t{1} << 20;

[[noreturn]] void refuse(const std::string& path) {
    const int error = errno;
    throw IoError(path, error, std::system_category().message(error));
}

std::string directory_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

// Hidden, and without the ending, so that nobody who looks for finished files takes it for one.
std::string temporary_name(const std::string& path) {
    static std::atomic<unsigned> counter{0};
    const std::size_t slash = path.rfind('/');
    const std::size_t name = slash == std::string::npos ? 0 : slash + 1;
    return path.substr(0, name) + "." + path.substr(name) + "." + std::to_string(::getpid()) + "-" +
           std::to_string(counter.fetch_add(1)) + ".tmp";
}

}  // namespace

FileOutput::FileOutput(std::string path) : path_(std::move(path)) {
    // A name is taken where a process of the same id was killed; in containers ids repeat.
    do {
        temporary_ = temporary_name(path_);
        fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (fd_ < 0 && errno == EEXIST);
    if (fd_ < 0) refuse(temporary_);
}

FileOutput::~FileOutput() {
    if (fd_ < 0) return;
    ::close(fd_);
    ::unlink(temporary_.c_str());
}

void FileOutput::flush_if_full() {
    if (writer_.size() >= kFlushSize) flush();
}

void FileOutput::flush() {
    std::span<const std::byte> left = writer_.view();
    while (!left.empty()) {
        const ssize_t written = ::write(fd_, left.data(), left.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) refuse(temporary_);
        left = left.subspan(static_cast<std::size_t>(written));
    }
    writer_.clear();
}

void FileOutput::commit() {
    flush();
    if (::fsync(fd_) != 0) refuse(temporary_);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) refuse(path_);
    // From here on the temporary name is gone, so a failure must not remove it again.
    ::close(fd_);
    fd_ = -1;
    // A rename is on disk only once its directory is.
    const std::string directory = directory_of(path_);
    const int directory_fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory_fd < 0) refuse(directory);
    const bool synced = ::fsync(directory_fd) == 0 || errno == EINVAL;  // EINVAL: a file system that has no such thing
    if (!synced) {
        const int error = errno;
        ::close(directory_fd);
        errno = error;
        refuse(directory);
    }
    ::close(directory_fd);
}

}  // namespace persia
