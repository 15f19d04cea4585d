// Zeroed memory straight from the operating system: it comes lazily, page by page, goes back at once, and is countable.
#pragma once

#include <cstddef>
#include <utility>

namespace persia {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

constexpr std::size_t round_up(std::size_t bytes, std::size_t to) { return (bytes + to - 1) / to * to; }

// Has the system bring `bytes` of memory in now, what is written there meanwhile untouched. Where it cannot, nothing happens.
void populate(std::byte* data, std::size_t bytes);

// Owns one mapping.
class Pages {
  public:
    Pages() = default;

    // `huge` aligns the block to 2 MiB and asks for huge pages as far as whole ones fit. They come whole, so this is for
    // blocks that fill up; it makes them several times cheaper to touch first, and to reach later. Throws TooLarge when the
    // system has no address space or memory left.
    explicit Pages(std::size_t bytes, bool huge = false);

    Pages(Pages&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), huge_(other.huge_) {}
    Pages& operator=(Pages&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(huge_, other.huge_);
        return *this;
    }
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;
    ~Pages();

    std::byte* data() const { return data_; }
    std::size_t size() const { return size_; }

    bool huge() const { return huge_; }

    // What the first `used` bytes cost once they have been written to.
    std::size_t resident(std::size_t used) const {
        const std::size_t rounded = round_up(used, huge_ ? kHugePage : kPage);
        return rounded < size_ ? rounded : size_;
    }

  private:
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
    bool huge_ = false;
};

}  // namespace persia
