#include "wire/forward.hpp"

#include <fstream>
#include <iterator>
#include <string>

#include "base/error.hpp"
#include "check.hpp"
#include "messages.hpp"

using namespace persia;
using namespace persia::wire;

namespace {

struct Columns {
    std::vector<std::uint32_t> shapes = {1, 0, 2, 1, 1, 2};
    std::vector<std::uint32_t> counts = {1, 0, 0, 0, 2, 1, 0, 3};
    std::vector<std::uint16_t> tensors = {0x3c00, 0, 0x4000, 0xbc00};
};

std::string problem_with(const std::vector<std::uint32_t>& shapes, const std::vector<std::uint32_t>& counts,
                         std::size_t tensors) {
    const std::vector<std::uint16_t> numbers(tensors);
    const Bytes message = joined(encode_forward_response({}, counts, numbers, shapes, nullptr));
    ForwardResponse response(message);
    return response.problem();
}

}  // namespace

TEST(a_request_has_these_bytes) {
    const Bytes ids = bytes_of_hex("0102030405");
    const Bytes message = joined(encode_forward_request({.ids = ids, .timeout_ms = 300}, nullptr));
    CHECK(message == bytes_of_hex("18ac02 1205 0102030405"));
    const ForwardRequest request = decode_forward_request(message);
    CHECK(std::ranges::equal(request.ids, ids) && request.batch.empty() && request.timeout_ms == 300);
    const Bytes odd = bytes_of_hex("0a01ff 0a0161 7a03000000 9a010100 1807 1800");  // fields twice, and one that nobody knows
    const ForwardRequest other = decode_forward_request(odd);
    CHECK(other.batch.size() == 1 && other.batch[0] == std::byte{0x61} && other.ids.empty() && other.timeout_ms == 0);
}

TEST(large_ids_are_lent) {
    const auto ids = std::make_shared<Bytes>(5000);
    const auto message = encode_forward_request({.ids = *ids, .timeout_ms = 1}, ids);
    CHECK(message.pieces().size() == 2 && message.pieces()[1].bytes.data() == ids->data() && message.pieces()[1].owner == ids);
}

TEST(a_response_has_these_bytes) {
    const Columns columns;
    const ForwardFacts facts{{1, 300}, {2, 3}, {1}, 0x0807060504030201, 0x1817161514131211};
    const Bytes expected = bytes_of_hex(
        "1a0301ac02 2002 2803 320101 49 0102030405060708 51 1112131415161718"
        "1218 01000000 00000000 02000000 01000000 01000000 02000000"
        "7a00 4220 01000000 00000000 00000000 00000000 02000000 01000000 00000000 03000000"
        "0a08 003c 0000 0040 00bc");
    CHECK(joined(encode_forward_response(facts, columns.counts, columns.tensors, columns.shapes, nullptr)) == expected);
    const Bytes of_pythons_protobuf = bytes_of_hex(
        "0a08003c0000004000bc12180100000000000000020000000100000001000000020000001a0301ac02200228033201014220"
        "0100000000000000000000000000000002000000010000000000000003000000490102030405060708511112131415161718");
    for (std::size_t by = 0; by < 16; ++by) {
        const Shifted shifted(by < 8 ? expected : of_pythons_protobuf, by);
        ForwardResponse response(shifted.bytes());
        CHECK(response.problem().empty());
        CHECK(response.facts().versions == facts.versions && response.facts().missing_shards == facts.missing_shards);
        CHECK(response.facts().misses.absent == 2 && response.facts().misses.wrong_dim == 3);
        CHECK(response.facts().embedding_config_id == facts.embedding_config_id);
        CHECK(response.facts().checkpoint_id == facts.checkpoint_id);
        CHECK(std::ranges::equal(response.tensors(), columns.tensors) && std::ranges::equal(response.shapes(), columns.shapes));
        CHECK(std::ranges::equal(response.counts(), columns.counts));
    }
}

TEST(tensors_are_lent_and_read_where_they_came) {
    struct Kept {
        std::vector<std::uint16_t> tensors = std::vector<std::uint16_t>(4000, 1);
        std::vector<std::uint32_t> shapes = {100, 0, 40};
    };
    const auto kept = std::make_shared<Kept>();
    const auto message = encode_forward_response({}, {}, kept->tensors, kept->shapes, kept);
    CHECK(message.pieces().size() == 2 && message.pieces()[1].owner == kept);
    const auto came = received(joined(message));
    ForwardResponse response(came.bytes());
    CHECK(response.problem().empty());
    const auto* first = reinterpret_cast<const std::byte*>(response.tensors().data());
    CHECK(first > came.bytes().data() && first < came.bytes().data() + came.size());
    CHECK(response.counts().empty());
}

TEST(numbers_that_are_not_packed_are_read_too) {
    ForwardResponse response(bytes_of_hex("1801 18ac02 3001 3002"));
    CHECK((response.facts().versions == std::vector<std::uint64_t>{1, 300}));
    CHECK((response.facts().missing_shards == std::vector<std::uint64_t>{1, 2}));
    Bytes many;
    for (int i = 0; i <= 65'535; ++i) many.insert(many.end(), {std::byte{0x18}, std::byte{1}});
    CHECK_THROWS(ForwardResponse(many), DecodeError);
}

TEST(columns_that_do_not_fit_are_told) {
    CHECK(problem_with({1, 0, 2}, {}, 2).empty());
    CHECK(problem_with({}, {}, 0).empty());
    CHECK(problem_with({1, 0}, {}, 0) == "expected shapes of 3 u32, got 8 bytes");
    CHECK(problem_with({1, 0, 2}, {}, 3) == "expected 4 bytes for its shapes, got 6");
    CHECK(problem_with({1, 0, 2}, {1, 2, 3}, 2) == "expected the counts of 1 features, got 12 bytes");
    const std::string too_many = "expected shapes of at most 536870912 numbers, got more";
    CHECK(problem_with({0xffffffff, 0xffffffff, 0xffffffff}, {}, 0) == too_many);
    CHECK(problem_with({0x80000000, 2, 0}, {}, 0) == too_many);
    CHECK(problem_with({0, 0, 0xffffffff}, {}, 0) == too_many);
    CHECK(problem_with({1, 0, 1U << 29, 1, 0, 1}, {}, 0) == too_many);
}

// What these tests and the code take for granted.
TEST(the_schema_says_the_same) {
    std::ifstream file(PERSIA_TEST_DATA "/../../protos/persia/v1/middleware.proto");
    const std::string schema(std::istreambuf_iterator<char>(file), {});
    const auto message_of = [&](const std::string& name) {
        const std::size_t begin = schema.find("message " + name + " {");
        CHECK(begin != std::string::npos);
        return schema.substr(begin, schema.find("\n}", begin) - begin);
    };
    const std::string request = message_of("ForwardRequest"), response = message_of("ForwardResponse");
    for (const char* field : {"bytes batch = 1;", "bytes ids = 2;", "uint32 timeout_ms = 3;", "bytes padding = 15;"}) {
        CHECK(request.find(field) != std::string::npos);
    }
    for (const char* field : {"bytes tensors = 1;", "bytes shapes = 2;", "repeated uint64 versions = 3;", "uint64 absent = 4;",
                              "uint64 wrong_dim = 5;", "repeated uint32 missing_shards = 6;", "bytes features = 8;",
                              "fixed64 embedding_config_id = 9;", "fixed64 checkpoint_id = 10;", "bytes padding = 15;"}) {
        CHECK(response.find(field) != std::string::npos);
    }
}
