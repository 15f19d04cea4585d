// Messages of gRPC: as they come, and as they are sent. Neither is copied on its way once it is in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "grpc/call_failed.hpp"
#include "grpc/memory_budget.hpp"
#include "grpc/status.hpp"

namespace persia::grpc {

constexpr std::size_t kMaxMessageBytes = std::size_t{256} << 20;
constexpr std::size_t kPrefixBytes = 5;  // before each message: a flag, and its length

// One that has come. Its first byte is aligned for any number. Movable.
class ReceivedMessage {
  public:
    ReceivedMessage() = default;
    ReceivedMessage(std::byte* memory, std::size_t size, Reservation reservation)  // memory: of malloc()
        : memory_(memory), size_(size), reservation_(std::move(reservation)) {}

    std::span<const std::byte> bytes() const { return {memory_.get(), size_}; }
    std::size_t size() const { return size_; }

  private:
    struct Free {
        void operator()(std::byte* memory) const { std::free(memory); }
    };

    std::unique_ptr<std::byte, Free> memory_;
    std::size_t size_ = 0;
    Reservation reservation_;
};

// One to be sent: pieces of memory, one after the other. Small bytes are kept in it; large ones are lent, with what owns them.
// Copies share what they send.
class OutgoingMessage {
  public:
    OutgoingMessage() = default;
    // All of it in one piece, which is moved in.
    explicit OutgoingMessage(std::string bytes);

    // Copies them.
    void append(std::span<const std::byte> bytes);
    // Lends them. owner: lives as long as they are needed.
    void append(std::span<const std::byte> bytes, std::shared_ptr<const void> owner);

    std::size_t size() const { return size_; }

    struct Piece {
        std::span<const std::byte> bytes;
        std::shared_ptr<const void> owner;
    };
    // In order, none of them empty. What append() copied is one piece as long as nothing was lent between.
    std::vector<Piece> pieces() const;

  private:
    struct Part {
        std::shared_ptr<std::string> copied;  // or
        Piece lent;
    };
    std::vector<Part> parts_;
    std::size_t size_ = 0;
};

// Puts messages together from the DATA of a stream.
class MessageReader {
  public:
    // budget: null: there is none.
    MessageReader(std::size_t max_bytes, std::shared_ptr<MemoryBudget> budget);

    // accepts_gzip: a message that says it is compressed is so by gzip; else such a message is an error.
    void accept_gzip() { gzip_ = true; }

    // Memory that was taken for the next message beforehand. If it is larger, more is taken of the same budget.
    void use(Reservation memory) { reservation_ = std::move(memory); }

    // Takes bytes, up to the end of the message that they belong to; returns how many. `bytes` may be those that room() gave.
    // Afterwards see error() and complete().
    std::size_t feed(std::span<const std::byte> bytes);

    // Where the next bytes of the message may be read to, so that feed() need not copy them; empty: they may not.
    std::span<std::byte> room();

    bool complete() const { return complete_; }
    // REQUIRES: complete. The reader begins anew.
    ReceivedMessage take();

    // Why the stream cannot go on: too large, a flag that is none, no memory, no gzip. ok: it can.
    const Status& error() const { return error_; }
    // Goes with the error: whoever is told that the budget has not so much left just now may come back.
    Metadata pushback() const { return lacks_memory_ ? pushback_for(kMemoryPushback) : Metadata(); }
    // Whether a message has begun that is not complete.
    bool within() const { return !complete_ && prefix_got_ != 0; }
    // Bytes of it that have come.
    std::size_t got() const { return got_; }

  private:
    bool begin();
    bool reserve(std::size_t bytes);
    bool hold(std::size_t bytes);
    void finish();
    void fail(Code code, std::string message) { error_ = Status(code, std::move(message)); }

    struct Free {
        void operator()(std::byte* memory) const { std::free(memory); }
    };

    const std::size_t max_bytes_;
    std::shared_ptr<MemoryBudget> budget_;
    bool gzip_ = false;
    std::byte prefix_[kPrefixBytes];
    std::size_t prefix_got_ = 0;
    std::unique_ptr<std::byte, Free> memory_;
    Reservation reservation_;
    std::size_t size_ = 0;  // of the message, by its prefix
    std::size_t room_ = 0;  // of the memory
    std::size_t got_ = 0;
    bool complete_ = false;
    bool lacks_memory_ = false;
    Status error_;
};

// The five bytes before a message of that size.
void put_prefix(std::byte* to, std::size_t size);

}  // namespace persia::grpc
