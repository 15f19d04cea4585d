// Numbers and text in the frames between a model server and its workers: what both ends are built on.
//
// The protocol is TorchServe's own between its front end and its workers, so that either end could be TorchServe's. A number
// has 32 bits, big-endian. Text and bytes have their length before them, and -1 in a length's place ends a list.
//
// The protocol is written down in four places more, which change together:
// * inference/worker_frames.cpp: the server's end, which writes batches and reads replies in parts, as they come;
// * bind/worker_channel.cpp and bind/worker_reply.cpp: the worker's end, which reads batches and writes replies;
// * model_server/worker_loading.py: how the server has a worker load its model, before it is given batches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace persia::inference {

constexpr std::size_t kNumberBytes = 4;
constexpr std::int32_t kEndOfList = -1;
constexpr std::int32_t kMaxTextBytes = 16 << 20;
constexpr std::int32_t kMaxBodyBytes = INT32_MAX;
constexpr std::int32_t kMaxHeaders = 10'000;  // of a prediction

inline void put_number(std::string& to, std::int32_t value) {
    const auto bits = static_cast<std::uint32_t>(value);
    for (const int shift : {24, 16, 8, 0}) to += static_cast<char>(bits >> shift & 0xff);
}

// REQUIRES: it has kMaxTextBytes at most.
inline void put_text(std::string& to, std::string_view text) {
    put_number(to, static_cast<std::int32_t>(text.size()));
    to += text;
}

// REQUIRES: kNumberBytes readable bytes.
inline std::int32_t number_at(const std::byte* bytes) {
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < kNumberBytes; ++i) bits = bits << 8 | std::to_integer<std::uint32_t>(bytes[i]);
    return static_cast<std::int32_t>(bits);
}

}  // namespace persia::inference
