// A reply of a worker as it is written, for the server at the other end. The protocol is in inference/frame_numbers.hpp.
#pragma once

#include <nanobind/nanobind.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "batch.hpp"

namespace persia::bind {

// Why no frame takes these words of a handler; nullopt: one does.
std::optional<std::string> why_no_words(std::string_view words);

// Small parts are copied, and large bodies lent.
class WorkerReply {
  public:
    // REQUIRES: a frame takes the message.
    WorkerReply(std::int32_t code, std::string_view message);

    // prediction: (id, content type, status, reason, headers, body). Throws TooLarge for what no frame takes, and then the
    // reply is as it was.
    void put(const nanobind::tuple& prediction);
    // In place of a prediction, for its caller alone.
    void put_refusal(nanobind::handle id, std::string_view why);

    // What is to be sent, as long as this lives.
    std::vector<iovec> end();

  private:
    struct Lent {
        std::size_t small_until;
        std::span<const std::byte> bytes;
    };

    void put_head(const nanobind::tuple& prediction);
    void put_body(nanobind::handle body);

    std::string small_;
    std::vector<Lent> lent_;
    std::deque<Buffer> bodies_;
};

}  // namespace persia::bind
