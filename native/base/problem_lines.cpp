#include "base/problem_lines.hpp"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>

#include "base/utf8.hpp"

namespace persia {

namespace {

std::atomic<bool> as_json = false;

// As the log's other lines have it.
std::string time_text() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
    const std::time_t seconds = static_cast<std::time_t>(milliseconds / 1000);
    std::tm parts = {};
    gmtime_r(&seconds, &parts);
    char date[32], text[48];
    std::strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &parts);
    std::snprintf(text, sizeof(text), "%s.%03d+00:00", date, static_cast<int>(milliseconds % 1000));
    return text;
}

void put_escaped(std::string& line, std::string_view text) {
    for (const char c : as_utf8(text, text.size())) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            line += '\\';
            line += c;
        } else if (byte < 0x20 || byte == 0x7f) {
            char escaped[8];
            std::snprintf(escaped, sizeof(escaped), "\\u%04x", static_cast<unsigned>(byte));
            line += escaped;
        } else {
            line += c;
        }
    }
}

}  // namespace

void set_problem_lines(bool json) { as_json.store(json, std::memory_order_relaxed); }

std::string problem_line(std::string_view text) {
    if (!as_json.load(std::memory_order_relaxed)) return std::string(text) + '\n';
    std::string line = "{\"time\":\"" + time_text() + "\",\"level\":\"ERROR\",\"logger\":\"core\",\"message\":\"";
    put_escaped(line, text);
    return line + "\"}\n";
}

void write_problem(std::string_view text) {
    const std::string line = problem_line(text);
    std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace persia
