// What the other end of HTTP/2 sends, on its way to nghttp2, without texts that are longer than nghttp2 takes.
//
// A text of more than 65,536 bytes in a block of headers ends the whole connection in nghttp2, with all of its calls: it stops
// within the block, and does not know any more which headers the other end has in its table. Here such a text is replaced by a
// shorter one that does the same to the table, as either is larger than the table (RFC 7541, 4.4). The first one that is
// replaced is still longer than all headers of a call may be: so its call is refused, and no other.
//
// Blocks that come in one frame of at most that length cannot have such a text, and are passed on as they are.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace persia::grpc {

// Takes one block of headers apart as far as to know where its texts begin (RFC 7541, 5 and 6).
class HeaderBlock {
  public:
    // Appends what it becomes to `to`.
    void feed(std::span<const std::byte> bytes, std::string& to);

  private:
    enum class Part { begin, number, text };
    // What a number is: of no interest, the place of a name in the table, or the length of a text.
    enum class Meaning { other, name_index, name_length, value_length };

    void begin_number(std::uint8_t byte, unsigned bits, Meaning meaning);
    void end_number(std::string& to);
    void begin_text(std::string& to);
    void end_text();

    Part part_ = Part::begin;
    Meaning meaning_ = Meaning::other;
    std::string number_bytes_;  // as they came
    std::uint64_t number_ = 0;
    unsigned shift_ = 0;
    std::uint64_t text_left_ = 0;
    bool is_left_out_ = false;  // the text that comes
    bool has_left_out_ = false;
    bool is_broken_ = false;  // the rest is nghttp2's to refuse
};

class HeaderBlocks {
  public:
    static constexpr std::size_t kMostFrames = 64;  // of a block

    // expects_preface: a client's connection begins with one.
    explicit HeaderBlocks(bool expects_preface);

    // Calls `pass` with all that nghttp2 is to read, and stops when it returns false. False: it did, or see problem().
    template <class Pass>
    bool feed(std::span<const std::byte> bytes, Pass pass) {
        while (!bytes.empty()) {
            const std::size_t plain = plain_bytes(bytes);
            if (plain != 0 && !pass(bytes.first(plain))) return false;
            bytes = bytes.subspan(plain);
            if (bytes.empty()) break;
            bytes = bytes.subspan(take(bytes));
            if (!problem_.empty()) return false;
            if (!out_.empty()) {
                const bool goes_on = pass(std::as_bytes(std::span(out_)));
                out_.clear();
                if (!goes_on) return false;
            }
        }
        return true;
    }

    // Why the connection cannot go on; empty: it can.
    const std::string& problem() const { return problem_; }

  private:
    std::size_t plain_bytes(std::span<const std::byte> bytes);
    std::size_t take(std::span<const std::byte> bytes);
    void begin_frame();
    void begin_fragment();
    void take_fragment(std::span<const std::byte> bytes);
    void end_frame();
    void put_part(bool is_last);

    static constexpr std::size_t kFrameHead = 9;

    std::size_t plain_left_;  // bytes that are passed on as they come
    std::array<std::uint8_t, kFrameHead> head_{};
    std::size_t head_got_ = 0;
    // Of the frame of a block that comes: its own fields before the fragment, the fragment, and its padding.
    bool in_frame_ = false, is_padded_ = false;
    std::size_t before_left_ = 0, fragment_left_ = 0, padding_left_ = 0;
    // Of the block that comes.
    bool in_block_ = false;
    std::array<std::uint8_t, kFrameHead> next_head_{};  // of the next frame of it that is passed on
    std::size_t frames_ = 0, block_bytes_ = 0;          // that came, and that were passed on
    HeaderBlock scan_;
    std::string part_;  // of the frame that comes
    std::string out_;   // is to be passed on
    std::string problem_;
};

}  // namespace persia::grpc
