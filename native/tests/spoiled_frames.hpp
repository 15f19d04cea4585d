// Conversations of HTTP/2 as bytes, spoiled in many ways: in their bytes, and as frames.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spoiling.hpp"

namespace persia::grpc {

class FrameMutator : public Spoiler {
  public:
    using Spoiler::Spoiler;

    // preface: bytes before the first frame.
    std::string spoiled(std::string_view conversation, std::size_t preface) {
        const std::string_view start = conversation.substr(0, preface);
        std::vector<std::string> frames = split(conversation.substr(preface));
        for (std::size_t n = below(4); n > 0 && !frames.empty(); --n) spoil_frames(frames);
        std::string bytes(start);
        for (const std::string& one : frames) bytes += one;
        if (below(3) == 0) {
            for (std::size_t n = 1 + below(3); n > 0 && !bytes.empty(); --n) spoil_bytes(bytes);
        }
        return bytes;
    }

  private:
    static constexpr std::size_t kHead = 9;

    static std::vector<std::string> split(std::string_view bytes) {
        std::vector<std::string> frames;
        while (bytes.size() >= kHead) {
            std::size_t size = kHead;
            for (std::size_t i = 0; i < 3; ++i) size += std::size_t{static_cast<unsigned char>(bytes[i])} << (16 - 8 * i);
            frames.emplace_back(bytes.substr(0, size));
            bytes.remove_prefix(std::min(size, bytes.size()));
        }
        return frames;
    }

    char some_byte() { return static_cast<char>(any()); }

    void set_length(std::string& one) {
        const std::size_t size = one.size() - kHead;
        for (std::size_t i = 0; i < 3; ++i) one[i] = static_cast<char>(size >> (16 - 8 * i));
    }

    void spoil_frames(std::vector<std::string>& frames) {
        const std::size_t at = below(frames.size());
        const auto here = frames.begin() + static_cast<std::ptrdiff_t>(at);
        std::string& one = *here;
        switch (below(11)) {
            case 0:
                one[3] = static_cast<char>(below(11));  // another type
                break;
            case 1:
                one[4] = static_cast<char>(one[4] ^ (1 << below(8)));  // another flag
                break;
            case 2: {  // another stream
                static constexpr char kStreams[] = {0, 1, 2, 3, 5, 7, 9, 99};
                one[8] = kStreams[below(std::size(kStreams))];
                break;
            }
            case 3:
                one[below(3)] = some_byte();  // another length
                break;
            case 4:
                frames.erase(here);
                break;
            case 5:
                frames.insert(here, std::string(one));
                break;
            case 6:
                std::swap(one, frames[below(frames.size())]);
                break;
            case 7:  // another body, of a right length
                for (std::size_t n = 1 + below(4); n > 0; --n) {
                    if (one.size() > kHead) one[kHead + below(one.size() - kHead)] = some_byte();
                }
                break;
            case 8:
                one.resize(kHead + below(one.size() - kHead + 1));
                set_length(one);
                break;
            case 9: {  // one of its own
                std::string made(kHead, '\0');
                made[3] = static_cast<char>(below(12));
                made[4] = some_byte();
                made[8] = static_cast<char>(below(10));
                for (std::size_t n = below(20); n > 0; --n) made += some_byte();
                set_length(made);
                frames.insert(here, made);
                break;
            }
            default: {  // in two
                const std::size_t cut = kHead + below(one.size() - kHead + 1);
                std::string rest = one.substr(0, kHead) + one.substr(cut);
                one.resize(cut);
                set_length(one);
                set_length(rest);
                frames.insert(frames.begin() + static_cast<std::ptrdiff_t>(at) + 1, rest);
            }
        }
    }

    void spoil_bytes(std::string& bytes) {
        const std::size_t at = below(bytes.size());
        if (below(5) == 0) {
            bytes.insert(at, bytes.substr(below(bytes.size()), below(40)));
        } else {
            spoil(bytes, at);
        }
    }
};

}  // namespace persia::grpc
