#include "inference/access_log.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <system_error>
#include <utility>

#include "base/error.hpp"

namespace persia::inference {

namespace {

// What came of a client, so that it cannot make up lines of its own.
void put(std::string& line, std::string_view text) {
    constexpr std::size_t kMost = 2048;
    for (const char c : text.substr(0, kMost)) line += static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '"' ? '?' : c;
}

int open_file(const std::string& path) {
    const int file = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0) throw IoError(path, errno, std::system_category().message(errno));
    return file;
}

std::size_t size_of(int file) {
    struct stat found{};
    return fstat(file, &found) == 0 ? static_cast<std::size_t>(found.st_size) : 0;
}

}  // namespace

AccessLog::AccessLog(std::string path, std::size_t most_bytes, int old_files)
    : path_(std::move(path)), most_bytes_(most_bytes), old_files_(old_files), file_(open_file(path_)), bytes_(size_of(file_)) {}

AccessLog::~AccessLog() { close(file_); }

void AccessLog::add(const Access& access) {
    const std::string line = line_of(access, std::chrono::system_clock::now());
    const std::lock_guard lock(mutex_);
    if (bytes_ != 0 && bytes_ + line.size() > most_bytes_) begin_anew();
    bytes_ += line.size();
    while (write(file_, line.data(), line.size()) < 0 && errno == EINTR) {
    }
}

// With the lock. Where the directory does not take a new file, the old one goes on.
void AccessLog::begin_anew() {
    bytes_ = 0;
    for (int i = old_files_ - 1; i >= 0; --i) {
        const std::string from = i == 0 ? path_ : path_ + '.' + std::to_string(i);
        static_cast<void>(std::rename(from.c_str(), (path_ + '.' + std::to_string(i + 1)).c_str()));
    }
    try {
        close(std::exchange(file_, open_file(path_)));
    } catch (const IoError&) {
    }
}

std::string line_of(const Access& access, std::chrono::system_clock::time_point now) {
    using std::chrono::milliseconds;
    const auto since = std::chrono::duration_cast<milliseconds>(now.time_since_epoch()).count();
    const std::time_t seconds = since / 1000;
    std::tm parts{};
    localtime_r(&seconds, &parts);
    char when[48];
    const std::size_t size = std::strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &parts);
    std::snprintf(when + size, sizeof(when) - size, ",%03d - /", static_cast<int>(since % 1000));
    std::string line = when;
    line += access.peer;
    line += " \"";
    put(line, access.method);
    line += ' ';
    put(line, access.target);
    line += ' ';
    line += access.protocol;
    line += "\" " + std::to_string(access.status) + ' ' +
            std::to_string(std::chrono::duration_cast<milliseconds>(access.took).count());
    if (!access.request_id.empty()) {
        line += ' ';
        put(line, access.request_id);
    }
    return line + '\n';
}

}  // namespace persia::inference
