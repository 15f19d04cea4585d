#include "inference/access_log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <system_error>

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

}  // namespace

AccessLog::AccessLog(const std::string& path) : file_(open_file(path)) {}

AccessLog::~AccessLog() { close(file_); }

void AccessLog::add(const Access& access) {
    const std::string line = line_of(access, std::chrono::system_clock::now());
    while (write(file_, line.data(), line.size()) < 0 && errno == EINTR) {
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
