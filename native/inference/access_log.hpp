// The access log: a line for each answer, as TorchServe writes it, in files of a bounded size.
#pragma once

#include <chrono>
#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>

namespace persia::inference {

// What a line says.
struct Access {
    std::string_view peer, method, target, protocol;
    int status;
    std::chrono::nanoseconds took;
    std::string_view request_id;  // empty: it is left out
};

// Thread safety: any thread may call all of it.
class AccessLog {
  public:
    // As TorchServe has them.
    static constexpr std::size_t kMostBytes = 100 << 20;
    static constexpr int kOldFiles = 5;

    // Lines go behind those that the file has. One that has no room in it begins a new file: the old ones are PATH.1, which is
    // the youngest, to PATH.old_files. Throws IoError.
    explicit AccessLog(std::string path, std::size_t most_bytes = kMostBytes, int old_files = kOldFiles);
    ~AccessLog();
    AccessLog(const AccessLog&) = delete;
    AccessLog& operator=(const AccessLog&) = delete;

    // Each line is one write. What the disk does not take is left out.
    void add(const Access& access);

  private:
    void begin_anew();

    const std::string path_;
    const std::size_t most_bytes_;
    const int old_files_;
    std::mutex mutex_;  // over what follows
    int file_;
    std::size_t bytes_;  // of the file, or since it could not be begun anew
};

// `2026-01-31 12:00:00,123 - /127.0.0.1:52134 "POST /predictions/m HTTP/1.1" 200 12 ID` and the line's end.
std::string line_of(const Access& access, std::chrono::system_clock::time_point now);

}  // namespace persia::inference
