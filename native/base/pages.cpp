#include "base/pages.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <string>

#include "base/error.hpp"

namespace persia {

namespace {

std::byte* map(std::size_t bytes) {
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) throw TooLarge("expected " + std::to_string(bytes) + " bytes of memory, the system has none left");
    return static_cast<std::byte*>(data);
}

}  // namespace

void populate(std::byte* data, std::size_t bytes) {
    constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, which older headers do not have; older kernels refuse it
    static_cast<void>(madvise(data, bytes, kPopulateWrite));
}

Pages::Pages(std::size_t bytes, bool huge) : huge_(huge) {
    if (bytes == 0) return;
    size_ = round_up(bytes, kPage);
    if (!huge) {
        data_ = map(size_);
        return;
    }
    std::byte* wide = map(size_ + kHugePage);
    const std::size_t skip = (kHugePage - reinterpret_cast<std::uintptr_t>(wide) % kHugePage) % kHugePage;
    data_ = wide + skip;
    if (skip != 0) munmap(wide, skip);
    munmap(data_ + size_, kHugePage - skip);
    madvise(data_, size_, MADV_HUGEPAGE);
}

Pages::~Pages() {
    if (data_ != nullptr) munmap(data_, size_);
}

}  // namespace persia
