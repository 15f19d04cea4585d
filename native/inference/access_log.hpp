// The access log: a line for each answer, as TorchServe writes it.
#pragma once

#include <chrono>
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
    // Lines go behind those that the file has. Throws IoError.
    explicit AccessLog(const std::string& path);
    ~AccessLog();
    AccessLog(const AccessLog&) = delete;
    AccessLog& operator=(const AccessLog&) = delete;

    // Each line is one write, so that several processes may have one file. What the disk does not take is left out.
    void add(const Access& access);

  private:
    const int file_;
};

// `2026-01-31 12:00:00,123 - /127.0.0.1:52134 "POST /predictions/m HTTP/1.1" 200 12 ID` and the line's end.
std::string line_of(const Access& access, std::chrono::system_clock::time_point now);

}  // namespace persia::inference
