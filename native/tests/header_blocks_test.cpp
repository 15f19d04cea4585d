// Blocks of headers on their way to nghttp2: what is passed on as it is, and what becomes of texts that are too long for it.
#include "grpc/header_blocks.hpp"

#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "http2_caller.hpp"

using namespace persia::grpc;

namespace {

constexpr int kData = 0, kHeaders = 1, kContinuation = 9;
constexpr int kEndHeaders = 4, kPadded = 8, kPriority = 32;

// What nghttp2 gets when the bytes come in parts of this size.
std::string passed(const std::string& bytes, std::size_t part, std::string* problem = nullptr) {
    HeaderBlocks blocks(false);
    std::string got;
    for (std::size_t i = 0; i < bytes.size(); i += part) {
        const auto some = std::as_bytes(std::span(bytes)).subspan(i, std::min(part, bytes.size() - i));
        const bool goes_on = blocks.feed(some, [&](std::span<const std::byte> passed_on) {
            got.append(reinterpret_cast<const char*>(passed_on.data()), passed_on.size());
            return true;
        });
        if (goes_on) continue;
        if (problem != nullptr) *problem = blocks.problem();
        break;
    }
    return got;
}

// A header with a new name, that no table is to have.
std::string literal(const std::string& name, const std::string& value) {
    std::string all(1, '\0');
    for (const std::string* text : {&name, &value}) {
        std::size_t length = text->size();
        if (length < 127) {
            all += static_cast<char>(length);
        } else {
            all += '\x7f';
            for (length -= 127; length >= 128; length >>= 7) all += static_cast<char>((length & 127) | 128);
            all += static_cast<char>(length);
        }
        all += *text;
    }
    return all;
}

// The block of headers that the frames have, which are of no more than 16 KiB each.
std::string block_of(const std::string& frames) {
    std::string block;
    bool ends = false;
    for (std::size_t at = 0; at < frames.size();) {
        const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(frames[at + i])); };
        const std::size_t length = byte(0) << 16 | byte(1) << 8 | byte(2);
        CHECK(byte(3) == static_cast<std::size_t>(at == 0 ? kHeaders : kContinuation) && length <= 16'384 && !ends);
        ends = (byte(4) & kEndHeaders) != 0;
        block += frames.substr(at + 9, length);
        at += 9 + length;
    }
    CHECK(ends);
    return block;
}

}  // namespace

TEST(frames_are_passed_on_as_they_are) {
    const std::string block = literal("name", "value");
    const std::string all = frame(kHeaders, kEndHeaders, 1, block) + frame(kData, 0, 1, std::string(100'000, 'd')) +
                            frame(kData, 1, 1, "") + frame(kHeaders, kEndHeaders | 1, 3, std::string(65'536, 'h')) +
                            frame(kContinuation, kEndHeaders, 3, "odd");
    for (const std::size_t part : {1UL, 7UL, 9UL, 10UL, 1'000UL, 1'000'000UL}) CHECK(passed(all, part) == all);
}

TEST(a_block_in_several_frames_keeps_its_headers) {
    std::string block;
    for (int i = 0; i < 3'000; ++i)
        block += literal("name" + std::to_string(i), std::string(static_cast<std::size_t>(i % 40), 'v'));
    const std::string padded = '\3' + block.substr(0, 20'000) + std::string(3, '\0');
    const std::string with_priority = std::string(5, 'p') + block.substr(0, 20'000);
    const std::string rest = frame(kContinuation, 0, 1, block.substr(20'000, 500)) + frame(kContinuation, 0, 1, "") +
                             frame(kContinuation, kEndHeaders, 1, block.substr(20'500));
    for (const std::size_t part : {1UL, 9UL, 1'000UL, 1'000'000UL}) {
        CHECK(block_of(passed(frame(kHeaders, 0, 1, block.substr(0, 20'000)) + rest, part)) == block);
        CHECK(block_of(passed(frame(kHeaders, kPadded, 1, padded) + rest, part)) == block);
        CHECK(block_of(passed(frame(kHeaders, kPriority, 1, with_priority) + rest, part)) == block);
    }
}

TEST(a_block_is_passed_on_frame_by_frame) {
    const std::string block = literal("a", std::string(30'000, 'b'));
    const std::string first = frame(kHeaders, 0, 1, block.substr(0, 10'000));
    CHECK(passed(first, 1'000) == first);
    const std::string second = frame(kContinuation, 0, 1, block.substr(10'000, 10'000));
    CHECK(passed(first + second, 1'000) == first + second);
    const std::string last = frame(kContinuation, kEndHeaders, 1, block.substr(20'000));
    CHECK(passed(first + second + last, 1'000) == first + second + last);
}

TEST(texts_that_are_too_long_become_as_long_as_they_may_be) {
    const std::string before = literal("a", "b"), after = literal("c", "d");
    const std::string block =
        before + literal("long", std::string(100'000, 'v')) + literal(std::string(70'000, 'n'), "v") + after;
    const std::string expected =
        before + literal("long", std::string(65'536, 'x')) + literal(std::string(4'096, 'x'), "v") + after;
    for (const std::size_t part : {1UL, 1'000UL, 1'000'000UL}) {
        CHECK(block_of(passed(frame(kHeaders, kEndHeaders, 1, block), part)) == expected);
    }
}

TEST(a_frame_within_a_block_is_for_nghttp2_to_refuse) {
    const std::string got = passed(frame(kHeaders, 0, 1, literal("a", "b")) + frame(kData, 0, 1, "x"), 1'000);
    CHECK(got == frame(kHeaders, 0, 1, literal("a", "b")) + frame(kData, 0, 1, "x"));
}

TEST(what_has_no_end_is_refused) {
    std::string problem;
    std::string many = frame(kHeaders, 0, 1, "");
    for (int i = 0; i < 100; ++i) many += frame(kContinuation, 0, 1, "");
    passed(many, 1'000, &problem);
    CHECK(problem == "far more frames of headers than are allowed");
    std::string large = frame(kHeaders, 0, 1, "");
    for (int i = 0; i < 60; ++i) large += frame(kContinuation, 0, 1, literal("a", std::string(16'000, 'v')));
    passed(large, 1'000'000, &problem);
    CHECK(problem == "far more headers than are allowed");
    passed(frame(kHeaders, kPadded, 1, "\5abc"), 1'000, &problem);
    CHECK(problem == "a frame of headers that is shorter than it says");
}

TEST(nothing_that_comes_is_too_much_for_it) {
    std::mt19937 random(7);
    for (int round = 0; round < 2'000; ++round) {
        std::string bytes;
        while (bytes.size() < 3'000) {
            std::string body(random() % 400, '\0');
            for (char& byte : body) byte = static_cast<char>(random());
            bytes += frame(random() % 3 == 0 ? kHeaders : kContinuation, static_cast<int>(random() % 64), 1, body);
        }
        const std::size_t part = 1 + random() % 500;
        std::string one, other;
        const std::string got = passed(bytes, part, &one);
        CHECK(got == passed(bytes, 1'000'000, &other) && one == other);
    }
}
