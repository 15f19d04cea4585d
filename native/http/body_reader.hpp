// The body of an HTTP/1.1 request, put together from what comes: of a known length, or in chunks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "grpc/memory_budget.hpp"
#include "grpc/message.hpp"
#include "http/request_head.hpp"

namespace persia::http {

class BodyReader {
  public:
    // budget: null: there is none.
    BodyReader(const RequestHead& head, std::size_t max_bytes, std::shared_ptr<grpc::MemoryBudget> budget);

    // Takes bytes, up to the end of the body; returns how many. Afterwards see refusal() and complete().
    std::size_t feed(std::string_view bytes);

    // Where the next bytes of the body may be read to, so that feed() need not copy them; empty: they may not.
    std::span<std::byte> room();
    void fed_room(std::size_t bytes);  // so many were read there

    bool complete() const { return stage_ == Stage::complete; }
    // REQUIRES: complete.
    grpc::ReceivedMessage take();

    // Why the request is not served; afterwards it is not known where the next one would begin.
    const std::optional<Refusal>& refusal() const { return refusal_; }

  private:
    enum class Stage { bytes, chunk_size, chunk_bytes, chunk_end, trailers, complete };

    bool hold(std::size_t bytes);
    void add(std::string_view bytes);
    std::optional<std::string> line(std::string_view& bytes);
    void begin_chunk(const std::string& line);
    void refuse(int status, std::string message);

    struct Free {
        void operator()(std::byte* memory) const { std::free(memory); }
    };

    const std::size_t max_bytes_;
    Stage stage_;
    std::uint64_t left_ = 0;  // of the body, or of the chunk
    std::string line_;        // of chunks and trailers, as far as it has come
    std::size_t trailer_bytes_ = 0;
    std::unique_ptr<std::byte, Free> memory_;
    grpc::Reservation reservation_;
    std::size_t room_ = 0, size_ = 0;
    std::optional<Refusal> refusal_;
};

}  // namespace persia::http
