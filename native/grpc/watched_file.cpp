#include "grpc/watched_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <system_error>

#include "base/error.hpp"

namespace persia::grpc {

namespace {

constexpr std::size_t kMaxBytes = 1 << 20;
constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kSettled = kSecond / 10;  // longer than any clock tick of a file system's times

std::int64_t nanoseconds(const timespec& time) { return std::int64_t{time.tv_sec} * kSecond + time.tv_nsec; }

[[noreturn]] void refuse(const std::string& path, int error) {
    throw IoError(path, error, std::generic_category().message(error));
}

void check_secret(const std::string& path, const struct stat& status) {
    const unsigned mode = status.st_mode & 0777U;
    const unsigned allowed = status.st_uid == 0 ? 0740U : 0700U;
    if ((mode & ~allowed) == 0) return;
    char octal[8];
    std::snprintf(octal, sizeof octal, "%04o", mode);
    throw InvalidInput(path + ": expected a file that only its owner can read, as it is secret, got one with the mode " +
                       octal + ": run `chmod 600 " + path + "`");
}

FileVersion version_of(const struct stat& status) {
    return {status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size), nanoseconds(status.st_mtim),
            nanoseconds(status.st_ctim)};
}

std::optional<FileVersion> version_at(const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return std::nullopt;
    return version_of(status);
}

class OpenFile {
  public:
    explicit OpenFile(const std::string& path) : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
        if (fd_ < 0) refuse(path, errno);
    }
    ~OpenFile() { ::close(fd_); }
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;

    struct stat status() const {
        struct stat status{};
        if (::fstat(fd_, &status) != 0) refuse(path_, errno);
        if (!S_ISREG(status.st_mode)) refuse(path_, S_ISDIR(status.st_mode) ? EISDIR : EINVAL);
        return status;
    }

    std::string bytes() const {
        std::string bytes;
        char buffer[16 << 10];
        while (true) {
            const ssize_t got = ::read(fd_, buffer, sizeof buffer);
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) refuse(path_, errno);
            if (got == 0) return bytes;
            bytes.append(buffer, static_cast<std::size_t>(got));
            if (bytes.size() > kMaxBytes) {
                throw InvalidInput(path_ + ": expected at most " + std::to_string(kMaxBytes) + " bytes, got more");
            }
        }
    }

  private:
    const std::string& path_;
    int fd_;
};

}  // namespace

std::string WatchedFile::read() {
    version_ = version_at(path_);  // in case it cannot be opened
    is_settled_ = true;
    const OpenFile file(path_);
    const struct stat status = file.status();
    version_ = version_of(status);
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    is_settled_ = std::abs(nanoseconds(now) - version_->changed) > kSettled;
    if (kind_ == Kind::secret) check_secret(path_, status);
    return file.bytes();
}

bool WatchedFile::has_changed() const { return !is_settled_ || version_at(path_) != version_; }

}  // namespace persia::grpc
