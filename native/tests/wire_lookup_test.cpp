#include "wire/lookup.hpp"

#include <fstream>
#include <iterator>
#include <string>

#include "check.hpp"
#include "messages.hpp"
#include "spoiled_requests.hpp"

using namespace persia;
using namespace persia::wire;

namespace {

struct Columns {
    std::vector<RequestPart> parts = {{7, AnswerKind::rows, 4, 1, 2, 0}, {8, AnswerKind::sums, 4, 3, 1, 2}};
    std::vector<std::uint64_t> signs = {1, 2, ~0ULL};
    std::vector<std::uint32_t> counts = {2};
    std::vector<std::uint16_t> samples = {0, 2};

    RequestView view() const { return {parts, signs, counts, samples}; }
};

bool equal(const RequestView& one, const RequestView& other) {
    const auto same = [](auto a, auto b) { return std::ranges::equal(std::as_bytes(a), std::as_bytes(b)); };
    return same(one.parts, other.parts) && same(one.signs, other.signs) && same(one.sum_counts, other.sum_counts) &&
           same(one.sum_samples, other.sum_samples);
}

Bytes column(unsigned field, const Bytes& bytes) {
    return joined({{static_cast<std::byte>(field << 3 | 2), static_cast<std::byte>(bytes.size())}, bytes});
}

}  // namespace

TEST(a_request_has_these_bytes) {
    const Columns columns;
    // shard_index = 1, shard_count = 3; padding; signs; padding; parts; padding; counts; samples
    const Bytes expected = bytes_of_hex(
        "3001 3803 7a00 1a18 0100000000000000 0200000000000000 ffffffffffffffff"
        "7a00 1230 07000000 00000000 04000000 01000000 02000000 00000000"
        "          08000000 01000000 04000000 03000000 01000000 02000000"
        "7a00 2204 02000000 2a04 0000 0200");
    CHECK(joined(encode_lookup_request({1, 3}, columns.view(), nullptr)) == expected);
    LookupRequest request(expected);
    CHECK((request.place() == ShardPlace{1, 3}));
    CHECK(equal(request.view(), columns.view()));
}

TEST(a_request_for_a_variant_says_so_and_its_answer_too) {
    const Bytes message = joined(encode_lookup_request({}, {}, nullptr, 3, {1, 2, 0x0102030405060708}));
    CHECK(message == bytes_of_hex("4003 49 0100000000000000 51 0200000000000000 59 0807060504030201"));
    CHECK((LookupRequest(message).rows_for() == RowsFor{1, 2, 0x0102030405060708}));
    const Bytes answer = joined(encode_lookup_response({.variant = 9}, {}, {}, nullptr));
    CHECK(answer == bytes_of_hex("8101 0900000000000000"));
    CHECK(LookupResponse(answer).facts().variant == 9);
}

TEST(a_request_is_read_where_it_lies) {
    for (const std::size_t signs : {1, 20, 2000}) {
        Columns columns;
        columns.signs.resize(signs);
        const auto message = received(joined(encode_lookup_request({1, 300}, columns.view(), nullptr)));
        LookupRequest request(message.bytes());
        CHECK(request.bytes_to_copy() == 0);
        CHECK(equal(request.view(), columns.view()));
        const auto* begin = reinterpret_cast<const char*>(message.bytes().data());
        const auto* first = reinterpret_cast<const char*>(request.view().signs.data());
        CHECK(first > begin && first < begin + message.size());
    }
}

TEST(a_request_of_another_client_is_copied_where_it_is_not_aligned) {
    const Columns columns;
    // As protobuf writes it: in the order of the fields' numbers, without padding.
    const Bytes message =
        joined({bytes_of_hex("0805"), column(2, bytes_of(columns.parts)), column(3, bytes_of(columns.signs)),
                column(4, bytes_of(columns.counts)), column(5, bytes_of(columns.samples)), bytes_of_hex("3001 3803")});
    for (std::size_t by = 0; by < 8; ++by) {
        const Shifted shifted(message, by);
        LookupRequest request(shifted.bytes());
        CHECK((request.place() == ShardPlace{1, 3}));
        CHECK(request.bytes_to_copy() > 0);
        CHECK(equal(request.view(), columns.view()));
    }
}

TEST(what_pythons_protobuf_writes_is_read) {
    const Bytes message = bytes_of_hex(
        "1230070000000000000004000000010000000200000000000000080000000100000004000000030000000100000002000000"
        "1a1801000000000000000200000000000000ffffffffffffffff2204020000002a040000020030013803");
    const Columns columns;
    LookupRequest request(message);
    CHECK((request.place() == ShardPlace{1, 3}) && equal(request.view(), columns.view()));
    const Bytes answer = bytes_of_hex(
        "12080000803f000000c018ac02200228013901020304050607084210020000000000000000000000010000004911121314"
        "15161718");
    LookupResponse response(answer);
    CHECK(response.facts().version == 300 && response.facts().server_start == 0x0807060504030201);
    CHECK(response.facts().checkpoint_id == 0x1817161514131211 && response.misses().size() == 16);
    CHECK((std::ranges::equal(response.numbers(), std::vector<float>{1.0F, -2.0F})));
}

TEST(of_a_field_that_comes_twice_the_last_one_counts) {
    const Columns columns;
    const Bytes signs = bytes_of(columns.signs);
    const Bytes message = joined({bytes_of_hex("3805"), column(3, Bytes(7)), column(3, signs), bytes_of_hex("3801 3802"),
                                  bytes_of_hex("35 01000000 fa3f 03616263")});  // and two that nobody knows
    LookupRequest request(message);
    CHECK((request.place() == ShardPlace{0, 2}));
    CHECK(std::ranges::equal(request.view().signs, columns.signs));
}

TEST(a_request_with_items_that_are_not_whole_is_refused) {
    const std::pair<unsigned, std::string> fields[] = {{2, "expected parts in items of 24 bytes, got 7 bytes"},
                                                       {3, "expected signs in items of 8 bytes, got 7 bytes"},
                                                       {4, "expected sum_counts in items of 4 bytes, got 7 bytes"},
                                                       {5, "expected sum_samples in items of 2 bytes, got 7 bytes"}};
    for (const auto& [field, expected] : fields) {
        std::string problem;
        try {
            LookupRequest request(column(field, Bytes(7)));
        } catch (const InvalidInput& error) {
            problem = error.what();
        }
        CHECK(problem == expected);
    }
}

TEST(large_columns_of_a_request_are_lent) {
    const auto columns = std::make_shared<Columns>();
    columns->signs.resize(5000);
    const auto message = encode_lookup_request({0, 1}, columns->view(), columns);
    const auto pieces = message.pieces();
    CHECK(pieces.size() == 3);  // what comes before, the signs, and the small columns
    CHECK(pieces[1].bytes.data() == reinterpret_cast<const std::byte*>(columns->signs.data()) && pieces[1].owner == columns);
}

TEST(a_response_has_these_bytes) {
    const LookupFacts facts{300, {2, 1}, 0x0807060504030201, 0x1817161514131211};
    const std::vector<RunMisses> misses = {{2, 0}, {0, 1}};
    const std::vector<float> numbers = {1.0F, -2.0F};
    const Bytes expected = bytes_of_hex(
        "18ac02 2002 2801 39 0102030405060708 49 1112131415161718 4210 02000000 00000000 00000000 01000000"
        "7a01 00 1208 0000803f 000000c0");
    CHECK(joined(encode_lookup_response(facts, misses, bytes_of(numbers), nullptr)) == expected);
    LookupResponse response(expected);
    CHECK(response.facts().version == 300 && response.facts().misses.absent == 2 && response.facts().misses.wrong_dim == 1);
    CHECK(response.facts().server_start == facts.server_start && response.facts().checkpoint_id == facts.checkpoint_id);
    CHECK(std::ranges::equal(response.misses(), bytes_of(misses)));
    CHECK(std::ranges::equal(response.numbers(), numbers));
}

TEST(a_response_lends_its_numbers_and_has_them_aligned) {
    for (std::uint64_t version = 0; version < 1'000'000; version = 3 * version + 1) {
        const auto numbers = std::make_shared<std::vector<float>>(5000, 1.5F);
        const auto message = encode_lookup_response({version, {}, 1, 1}, {}, std::as_bytes(std::span(*numbers)), numbers);
        CHECK(message.pieces().size() == 2 && message.pieces()[1].owner == numbers);
        const auto came = received(joined(message));
        LookupResponse response(came.bytes());
        CHECK(response.facts().version == version && response.size_bytes() == 20'000);
        const auto* first = reinterpret_cast<const std::byte*>(response.numbers().data());
        CHECK(first > came.bytes().data() && first < came.bytes().data() + 100);  // where they came
        CHECK(std::ranges::equal(response.numbers(), *numbers));
    }
}

TEST(an_empty_message_is_a_request_and_a_response_of_nothing) {
    LookupRequest request(std::span<const std::byte>{});
    CHECK((request.place() == ShardPlace{}) && request.view().parts.empty() && request.view().signs.empty());
    LookupResponse response(std::span<const std::byte>{});
    CHECK(response.numbers().empty() && response.misses().empty() && response.facts().version == 0);
    CHECK(encode_lookup_request({}, {}, nullptr).size() == 0);
    CHECK(encode_lookup_response({}, {}, {}, nullptr).size() == 0);
}

// What these tests and the code take for granted.
TEST(the_schema_says_the_same) {
    std::ifstream file(PERSIA_TEST_DATA "/../../protos/persia/v1/embedding.proto");
    const std::string schema(std::istreambuf_iterator<char>(file), {});
    const auto message_of = [&](const std::string& name) {
        const std::size_t begin = schema.find("message " + name + " {");
        CHECK(begin != std::string::npos);
        return schema.substr(begin, schema.find("\n}", begin) - begin);
    };
    const std::string request = message_of("LookupRequest"), response = message_of("LookupResponse");
    for (const char* field : {"bytes parts = 2;", "bytes signs = 3;", "bytes sum_counts = 4;", "bytes sum_samples = 5;",
                              "uint32 shard_index = 6;", "uint32 shard_count = 7;", "bytes padding = 15;"}) {
        CHECK(request.find(field) != std::string::npos);
    }
    for (const char* field :
         {"bytes numbers = 2;", "uint64 version = 3;", "uint64 absent = 4;", "uint64 wrong_dim = 5;",
          "fixed64 server_start = 7;", "bytes misses = 8;", "fixed64 checkpoint_id = 9;", "bytes padding = 15;"}) {
        CHECK(response.find(field) != std::string::npos);
    }
}
