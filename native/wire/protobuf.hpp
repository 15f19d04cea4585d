// The wire format of protobuf, as far as our own messages need it: fields in any order, of repeated ones all and of others the
// last, fields that are not known passed over. Large columns are neither copied nor converted on their way.
//
// Thread safety: plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grpc/message.hpp"

namespace persia::wire {

enum class WireType : std::uint32_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

// A field's number and how its value is written, as they stand before the value.
constexpr std::uint32_t tag_of(std::uint32_t field, WireType type) { return field << 3 | static_cast<std::uint32_t>(type); }

// Bytes without meaning, of any message: what follows them is aligned.
constexpr std::uint32_t kPaddingField = 15;

// The fields of a message, one after the other: while (fields.next()) switch (fields.tag()) ... A field whose value is not
// asked for is passed over.
class FieldReader {
  public:
    // message: outlives this, and the values that are views.
    explicit FieldReader(std::span<const std::byte> message) : message_(message) {}

    // Throws DecodeError, which names the byte, for bytes that are no message, and for groups, which nobody sends.
    bool next();
    std::uint32_t tag() const { return tag_; }

    // REQUIRES: the tag says that the value is of this type.
    std::uint64_t varint() const { return number_; }
    std::uint64_t fixed64() const { return number_; }
    std::span<const std::byte> bytes() const { return bytes_; }

    // Appends what a repeated field of numbers has here: one, or, where they are packed, many. False: the field is another one.
    // Throws DecodeError for bytes that are no numbers, and for more of them than `most` in all.
    bool repeated(std::uint32_t field, std::size_t most, std::vector<std::uint64_t>& numbers) const;

  private:
    std::uint64_t read_fixed(std::size_t size);

    const std::span<const std::byte> message_;
    std::size_t at_ = 0;
    std::uint32_t tag_ = 0;
    std::uint64_t number_ = 0;
    std::span<const std::byte> bytes_;
};

// A column of numbers in a message. They are where they came if they are aligned there, as ours are; else they are copied once.
template <class T>
class ColumnView {
  public:
    ColumnView() = default;
    explicit ColumnView(std::span<const std::byte> bytes) : bytes_(bytes) {}

    std::size_t size_bytes() const { return bytes_.size(); }
    std::size_t size() const { return bytes_.size() / sizeof(T); }
    T operator[](std::size_t i) const {
        T item;
        std::memcpy(&item, bytes_.data() + i * sizeof(T), sizeof(T));
        return item;
    }
    bool is_whole() const { return bytes_.size() % sizeof(T) == 0; }
    bool is_aligned() const { return reinterpret_cast<std::uintptr_t>(bytes_.data()) % alignof(T) == 0; }
    // What items() copies.
    std::size_t bytes_to_copy() const { return is_aligned() ? 0 : bytes_.size(); }

    // They live as long as the message and this. What is no whole item is left out.
    std::span<const T> items() {
        if (is_aligned()) return {reinterpret_cast<const T*>(bytes_.data()), size()};
        if (copy_.size() != size()) {
            copy_.resize(size());
            std::memcpy(copy_.data(), bytes_.data(), size() * sizeof(T));
        }
        return copy_;
    }

  private:
    std::span<const std::byte> bytes_;
    std::vector<T> copy_;
};

// Writes a message. Fields that are zero or empty are left out, as protobuf does.
class MessageWriter {
  public:
    // The owner of all that is lent; it lives until the message is sent. Null: everything is copied.
    explicit MessageWriter(std::shared_ptr<const void> owner = nullptr) : owner_(std::move(owner)) {}

    void varint(std::uint32_t field, std::uint64_t value);
    void fixed64(std::uint32_t field, std::uint64_t value);
    void bytes(std::uint32_t field, std::span<const std::byte> value);  // copied
    // One of a repeated field, which counts if it is empty, too. Lent if it is large; without an owner the caller keeps it.
    void element(std::uint32_t field, std::span<const std::byte> value);
    void packed(std::uint32_t field, std::span<const std::uint64_t> values);

    // Numbers as they are, aligned in the message. Lent if there are many, else copied.
    template <class T>
    void column(std::uint32_t field, std::span<const T> items) {
        lend(field, std::as_bytes(items), alignof(T));
    }
    // The same, but always copied.
    template <class T>
    void copied_column(std::uint32_t field, std::span<const T> items) {
        if (items.empty()) return;
        begin_column(field, items.size_bytes(), alignof(T));
        append(std::as_bytes(items));
    }
    void lend(std::uint32_t field, std::span<const std::byte> value, std::size_t alignment);

    grpc::OutgoingMessage take();

  private:
    std::size_t size() const { return message_.size() + small_.size(); }
    void put(std::uint64_t varint);
    void put_length(std::uint32_t field, std::size_t length);
    void append(std::span<const std::byte> value) { small_.append(reinterpret_cast<const char*>(value.data()), value.size()); }
    void begin_column(std::uint32_t field, std::size_t length, std::size_t alignment);

    std::shared_ptr<const void> owner_;
    grpc::OutgoingMessage message_;
    std::string small_;  // that comes after what is in the message
};

}  // namespace persia::wire
