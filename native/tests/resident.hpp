// The memory of this process.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdio>

// With ASan, what was freed shall be free as far as may be.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=1:thread_local_quarantine_size_kb=64"; }

inline std::size_t resident_bytes() {
    std::FILE* file = std::fopen("/proc/self/statm", "r");
    std::size_t pages = 0, resident = 0;
    if (file == nullptr || std::fscanf(file, "%zu %zu", &pages, &resident) != 2) resident = 0;
    if (file != nullptr) std::fclose(file);
    return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}
