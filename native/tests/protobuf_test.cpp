#include "wire/protobuf.hpp"

#include <string>
#include <vector>

#include "base/error.hpp"
#include "check.hpp"
#include "messages.hpp"

using namespace persia;
using namespace persia::wire;

namespace {

// (tag, value) of each field; bytes as their length.
std::vector<std::pair<std::uint32_t, std::uint64_t>> fields_of(const Bytes& message) {
    std::vector<std::pair<std::uint32_t, std::uint64_t>> found;
    FieldReader fields(message);
    while (fields.next()) {
        found.emplace_back(fields.tag(), (fields.tag() & 7) == 2 ? fields.bytes().size() : fields.varint());
    }
    return found;
}

std::string problem_of(std::string_view hex) {
    try {
        static_cast<void>(fields_of(bytes_of_hex(hex)));
    } catch (const DecodeError& error) {
        return error.what();
    }
    return {};
}

std::vector<std::uint64_t> numbers_of(std::string_view hex, std::size_t most = 100) {
    const Bytes message = bytes_of_hex(hex);
    std::vector<std::uint64_t> numbers;
    FieldReader fields(message);
    while (fields.next()) fields.repeated(3, most, numbers);
    return numbers;
}

Bytes written(MessageWriter& message) { return joined(message.take()); }

}  // namespace

TEST(fields_are_read_one_after_the_other) {
    // 1: varint 300; 2: fixed64 1; 3: "abc"; 4: fixed32 2; a field with a large number; 5: varint 2^64 - 1
    const auto fields =
        fields_of(bytes_of_hex("08ac02 11 0100000000000000 1a03616263 25 02000000 f8ffffff0f01 28ffffffffffffffffff01"));
    using Expected = std::vector<std::pair<std::uint32_t, std::uint64_t>>;
    CHECK((fields == Expected{{0x08, 300}, {0x11, 1}, {0x1a, 3}, {0x25, 2}, {0xfffffff8, 1}, {0x28, ~0ULL}}));
    CHECK(fields_of({}).empty());
}

TEST(bytes_that_are_no_message_are_refused_with_their_place) {
    CHECK(problem_of("08") == "at byte 1: expected a varint, got the end after 0 bytes of it");
    CHECK(problem_of("0801 88") == "at byte 2: expected the tag of a field, got the end after 1 bytes of it");
    CHECK(problem_of("08 ffffffffffffffffffff01") == "at byte 1: expected a varint, got one of more than 10 bytes");
    CHECK(problem_of("0001") == "at byte 0: expected a field with a number of 1 to 536870911, got 0");
    CHECK(problem_of("8080808010 01") == "at byte 0: expected a field with a number of 1 to 536870911, got 536870912");
    CHECK(problem_of("1203 6162") == "at byte 1: expected at most the 2 bytes that are left for field 2, got a length of 3");
    CHECK(problem_of("12 ffffffffffffffffff01").find("got a length of 18446744073709551615") != std::string::npos);
    CHECK(problem_of("11 0100000000") == "at byte 1: expected a number of 8 bytes, got only 5");
    CHECK(problem_of("25 010000") == "at byte 1: expected a number of 4 bytes, got only 3");
}

TEST(groups_and_types_that_are_none_are_refused) {
    for (const char* hex : {"0b 0c", "0c", "0e", "0f"}) {
        CHECK(problem_of(hex).starts_with("at byte 0: expected a field that is a number or bytes, got one of wire type "));
    }
}

TEST(repeated_numbers_are_read_packed_and_one_by_one) {
    using Numbers = std::vector<std::uint64_t>;
    CHECK((numbers_of("1a 04 01 ac02 00") == Numbers{1, 300, 0}));
    CHECK((numbers_of("1801 18ac02 0807 1800") == Numbers{1, 300, 0}));
    CHECK((numbers_of("1801 1a 02 0203 1804") == Numbers{1, 2, 3, 4}));
    CHECK(numbers_of("1a00").empty());
    CHECK(numbers_of("1a03 010203", 3).size() == 3);
    CHECK_THROWS(numbers_of("1a03 010203", 2), DecodeError);
    CHECK_THROWS(numbers_of("1801 1801 1801", 2), DecodeError);
    CHECK_THROWS(numbers_of("1a02 0180 01"), DecodeError);  // it ends within a number, whatever follows
}

TEST(fields_are_written_as_protobuf_does) {
    MessageWriter message;
    message.varint(1, 300);
    message.varint(2, 0);
    message.fixed64(3, 0x0102030405060708);
    message.fixed64(4, 0);
    message.bytes(5, bytes_of_hex("616263"));
    message.bytes(6, {});
    message.packed(7, std::vector<std::uint64_t>{1, 300, 0});
    message.packed(8, {});
    CHECK(written(message) == bytes_of_hex("08ac02 19 0807060504030201 2a03616263 3a04 01ac0200"));
    CHECK(written(message).empty());  // it begins anew
}

TEST(columns_are_aligned_by_padding) {
    const std::vector<std::uint64_t> items = {1, 2};
    for (std::size_t before = 0; before < 20; ++before) {
        MessageWriter message;
        message.bytes(1, Bytes(before));
        message.column(2, std::span<const std::uint64_t>(items));
        message.column(3, std::span<const std::uint64_t>());
        const grpc::ReceivedMessage sent = received(written(message));
        FieldReader fields(sent.bytes());
        ColumnView<std::uint64_t> column;
        while (fields.next()) {
            if (fields.tag() == tag_of(2, WireType::bytes))
                column = ColumnView<std::uint64_t>(fields.bytes());
            else
                CHECK(fields.tag() == tag_of(1, WireType::bytes) || fields.tag() == tag_of(kPaddingField, WireType::bytes));
        }
        CHECK(column.is_aligned() && column.bytes_to_copy() == 0);
        CHECK(std::ranges::equal(column.items(), items));
    }
}

TEST(columns_that_are_not_aligned_are_copied) {
    const std::vector<std::uint64_t> items = {1, ~0ULL, 3};
    for (std::size_t by = 0; by < 9; ++by) {
        const Shifted shifted(std::as_bytes(std::span(items)), by);
        ColumnView<std::uint64_t> column(shifted.bytes());
        CHECK(column.is_aligned() == (by % 8 == 0));
        CHECK(column.bytes_to_copy() == (by % 8 == 0 ? 0 : 24));
        CHECK(std::ranges::equal(column.items(), items));
        CHECK(std::ranges::equal(column.items(), items));
    }
    CHECK(!ColumnView<std::uint64_t>(std::span<const std::byte>(Bytes(9))).is_whole());
}

TEST(large_columns_are_lent_and_small_ones_copied) {
    const auto items = std::make_shared<const std::vector<std::uint64_t>>(1000);
    MessageWriter message(items);
    message.varint(1, 1);
    message.column(2, std::span(*items));
    message.column(3, std::span(*items).first(100));
    message.column(4, std::span(*items).subspan(1));
    const grpc::OutgoingMessage sent = message.take();
    const auto pieces = sent.pieces();
    CHECK(pieces.size() == 4);  // small, lent, small, lent
    CHECK(pieces[1].bytes.data() == reinterpret_cast<const std::byte*>(items->data()) && pieces[1].owner == items);
    CHECK(pieces[3].bytes.data() == reinterpret_cast<const std::byte*>(items->data() + 1) && pieces[3].bytes.size() == 7992);
    CHECK(fields_of(joined(sent)).size() >= 4);
    MessageWriter copying;
    copying.column(2, std::span(*items));
    CHECK(copying.take().pieces().size() == 1);
}
