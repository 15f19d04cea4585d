// Little-endian bytes, read with bounds and written by appending. Every format of this project is built on these two.
//
// Thread safety: none; a reader or writer belongs to one thread.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.hpp"

namespace persia {

static_assert(std::endian::native == std::endian::little, "the formats are little-endian and are copied as they are");

// An unaligned load; REQUIRES sizeof(T) readable bytes at `from`.
template <class T>
T load(const std::byte* from) {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    std::memcpy(&value, from, sizeof(T));
    return value;
}

template <class T>
void store(std::byte* to, T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    std::memcpy(to, &value, sizeof(T));
}

// Borrows `bytes`. Nothing is read, and no length believed, before the bytes it needs are known to be there: a caller may
// allocate what length() returned times the size of its items. All errors are DecodeError; `what` names the field in them.
class Reader {
  public:
    explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

    std::size_t position() const { return position_; }
    std::size_t remaining() const { return bytes_.size() - position_; }
    const std::byte* data() const { return bytes_.data() + position_; }

    // Throws unless `count` bytes are left.
    void need(std::size_t count, const char* what) const {
        if (count > remaining()) [[unlikely]] {
            fail(std::to_string(count) + " bytes of " + what, std::to_string(remaining()) + " bytes before the end");
        }
    }

    template <class T>
    T read(const char* what) {
        need(sizeof(T), what);
        const T value = load<T>(data());
        position_ += sizeof(T);
        return value;
    }

    std::span<const std::byte> take(std::size_t count, const char* what) {
        need(count, what);
        const auto taken = bytes_.subspan(position_, count);
        position_ += count;
        return taken;
    }

    // A u32 count of items that take at least `item_size` >= 1 bytes each, which must fit into what is left.
    std::size_t length(std::size_t item_size, const char* what) {
        const std::size_t start = position_;
        const std::size_t count = read<std::uint32_t>(what);
        if (count > remaining() / item_size) [[unlikely]] {
            throw DecodeError("at most " + std::to_string(remaining() / item_size) + " " + what + " in the " +
                                  std::to_string(remaining()) + " bytes that are left",
                              std::to_string(count), start);
        }
        return count;
    }

    // A byte that is 0 or 1.
    bool flag(const char* what) {
        const auto value = read<std::uint8_t>(what);
        if (value > 1) [[unlikely]] {
            throw DecodeError(std::string("0 or 1 for ") + what, std::to_string(value), position_ - 1);
        }
        return value == 1;
    }

    void expect_end(const char* what) const {
        if (remaining() != 0) fail(std::string("the end of ") + what, std::to_string(remaining()) + " more bytes");
    }

    [[noreturn]] void fail(std::string expected, std::string got) const {
        throw DecodeError(std::move(expected), std::move(got), position_);
    }

  private:
    std::span<const std::byte> bytes_;
    std::size_t position_ = 0;
};

// Appends to a buffer that it owns.
class Writer {
  public:
    template <class T>
    void write(T value) {
        store(extend(sizeof(T)), value);
    }

    void bytes(std::span<const std::byte> from) {
        if (!from.empty()) std::memcpy(extend(from.size()), from.data(), from.size());
    }

    // A u32 count before items. Throws TooLarge if it does not fit.
    void length(std::size_t count) {
        if (count > std::numeric_limits<std::uint32_t>::max()) {
            throw TooLarge("expected at most 4294967295 items in a list, got " + std::to_string(count));
        }
        write(static_cast<std::uint32_t>(count));
    }

    void string(std::string_view text) {
        length(text.size());
        bytes(std::as_bytes(std::span(text.data(), text.size())));
    }

    // Room for `count` more bytes, to be filled by the caller; valid until the next call.
    std::byte* extend(std::size_t count) {
        const std::size_t start = buffer_.size();
        buffer_.resize(start + count);
        return buffer_.data() + start;
    }

    void reserve(std::size_t more) {
        // Twice as large at least, or many small reservations would copy the buffer each time.
        const std::size_t wanted = buffer_.size() + more;
        if (wanted > buffer_.capacity()) buffer_.reserve(std::max(wanted, 2 * buffer_.capacity()));
    }

    void clear() { buffer_.clear(); }
    std::size_t size() const { return buffer_.size(); }
    std::span<const std::byte> view() const { return buffer_; }

  private:
    std::vector<std::byte> buffer_;
};

}  // namespace persia
