// Messages of the Open Inference Protocol, as workers read and write them.
#include "inference/infer_messages.hpp"

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "check.hpp"
#include "wire/protobuf.hpp"

using namespace persia;
using namespace persia::inference;
using wire::MessageWriter;

namespace {

Bytes bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string text_of(const grpc::OutgoingMessage& message) {
    std::string all;
    for (const auto& piece : message.pieces())
        all.append(reinterpret_cast<const char*>(piece.bytes.data()), piece.bytes.size());
    return all;
}

std::string text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

template <class T>
std::string raw(std::initializer_list<T> numbers) {
    std::string all(numbers.size() * sizeof(T), '\0');
    std::memcpy(all.data(), numbers.begin(), all.size());
    return all;
}

// An input with its contents as one field.
std::string input(const std::string& name, const std::string& datatype, std::vector<std::uint64_t> shape,
                  const std::string& contents) {
    MessageWriter writer;
    writer.bytes(1, bytes_of(name));
    writer.bytes(2, bytes_of(datatype));
    writer.packed(3, shape);
    if (!contents.empty()) writer.bytes(5, bytes_of(contents));
    return text_of(writer.take());
}

std::string varints(std::uint32_t field, std::vector<std::uint64_t> numbers) {
    MessageWriter writer;
    writer.packed(field, numbers);
    return text_of(writer.take());
}

std::string request_with(const std::vector<std::string>& inputs) {
    MessageWriter writer;
    writer.bytes(1, bytes_of("m"));
    for (const std::string& one : inputs) writer.element(5, bytes_of(one));
    return text_of(writer.take());
}

bool is_refused(const std::string& message) {
    try {
        read_infer_request(bytes_of(message));
        return false;
    } catch (const Error&) {
        return true;
    }
}

}  // namespace

TEST(a_request_with_raw_tensors_is_read_where_it_lies) {
    const std::string large(10'000, 'x');
    MessageWriter text, parameter, entry, output;
    text.bytes(3, bytes_of("fast"));
    entry.bytes(1, bytes_of("mode"));
    entry.bytes(2, bytes_of(text_of(text.take())));
    output.bytes(1, bytes_of("scores"));
    MessageWriter writer;
    writer.bytes(1, bytes_of("ctr"));
    writer.bytes(2, bytes_of("2.0"));
    writer.bytes(3, bytes_of("mine"));
    writer.bytes(4, bytes_of(text_of(entry.take())));
    writer.bytes(5, bytes_of(input("a", "UINT8", {100, 100}, "")));
    writer.bytes(5, bytes_of(input("b", "FP32", {0}, "")));
    writer.bytes(6, bytes_of(text_of(output.take())));
    writer.element(7, bytes_of(large));
    writer.element(7, {});
    const std::string message = text_of(writer.take());
    const InferRequest request = read_infer_request(bytes_of(message));
    CHECK(request.model == "ctr" && request.version == "2.0" && request.id == "mine");
    CHECK(request.parameters.size() == 1 && request.parameters[0].first == "mode");
    CHECK(std::get<std::string_view>(request.parameters[0].second) == "fast");
    CHECK(request.inputs.size() == 2 && request.inputs[0].name == "a" && request.inputs[0].datatype == "UINT8");
    CHECK((request.inputs[0].shape == std::vector<std::int64_t>{100, 100}));
    CHECK(request.inputs[0].contents == Contents::none);
    CHECK(request.outputs.size() == 1 && request.outputs[0].name == "scores");
    CHECK(request.raw.size() == 2 && text_of(request.raw[0]) == large && request.raw[1].empty());
    CHECK(request.raw[0].data() > bytes_of(message).data() &&
          request.raw[0].data() < bytes_of(message).data() + message.size());
}

TEST(typed_contents_become_numbers_of_their_width) {
    const auto minus_two = static_cast<std::uint64_t>(std::int64_t{-2});
    MessageWriter floats, texts, lone;
    floats.bytes(6, bytes_of(raw<float>({1.5F, -2})));
    texts.element(8, bytes_of("abc"));
    texts.element(8, {});
    lone.fixed64(7, 0x3ff8000000000000);
    const std::string message = request_with({
        input("a", "BOOL", {3}, varints(1, {1, 0, 7})),
        input("b", "INT8", {2}, varints(2, {minus_two, 3})),
        input("c", "UINT64", {1}, varints(5, {~std::uint64_t{0}})),
        input("d", "FP32", {2}, text_of(floats.take())),
        input("e", "BYTES", {2}, text_of(texts.take())),
        input("f", "FP64", {1}, text_of(lone.take())),
    });
    const auto inputs = read_infer_request(bytes_of(message)).inputs;
    CHECK(inputs[0].contents == Contents::bools && inputs[0].elements == raw<char>({1, 0, 1}));
    CHECK(inputs[1].contents == Contents::ints && inputs[1].elements == raw<std::int32_t>({-2, 3}));
    CHECK(inputs[2].contents == Contents::uint64s && inputs[2].elements == raw<std::uint64_t>({~std::uint64_t{0}}));
    CHECK(inputs[3].contents == Contents::fp32s && inputs[3].elements == raw<float>({1.5F, -2}));
    CHECK(inputs[4].contents == Contents::texts && inputs[4].texts.size() == 2 && text_of(inputs[4].texts[0]) == "abc");
    CHECK(inputs[4].texts[1].empty());
    CHECK(inputs[5].contents == Contents::fp64s && inputs[5].elements == raw<double>({1.5}));
}

TEST(contents_that_cannot_be_are_refused) {
    CHECK(is_refused(request_with({input("a", "INT64", {2}, varints(3, {1}) + varints(2, {1}))})));
    MessageWriter odd;
    odd.bytes(6, bytes_of("12345"));
    CHECK(is_refused(request_with({input("a", "FP32", {1}, text_of(odd.take()))})));
    CHECK(is_refused(request_with({input("a", "FP32", std::vector<std::uint64_t>(100, 1), "")})));
    CHECK(is_refused("\x2a\x7f"));
}

TEST(what_is_written_is_what_clients_read) {
    const std::string numbers = raw<std::int32_t>({-1, 300}), floats = raw<float>({0.5F}), letter = "a";
    const std::string large(5'000, 'y');
    const InferResponse typed{"ctr",
                              "1.0",
                              "mine",
                              {{"i", "INT16", {2}, Contents::ints, bytes_of(numbers), {}},
                               {"f", "FP32", {}, Contents::fp32s, bytes_of(floats), {}},
                               {"t", "BYTES", {2}, Contents::texts, {}, {bytes_of(letter), {}}}},
                              {}};
    // A response has its outputs where a request has its inputs, and each looks alike.
    const std::string typed_message = text_of(write_infer_response(typed));
    const InferRequest read = read_infer_request(bytes_of(typed_message));
    CHECK(read.model == "ctr" && read.version == "1.0" && read.id == "mine" && read.inputs.size() == 3);
    CHECK(read.inputs[0].elements == numbers && read.inputs[0].datatype == "INT16");
    CHECK(read.inputs[1].elements == floats && read.inputs[1].shape.empty());
    CHECK(read.inputs[2].texts.size() == 2 && read.inputs[2].texts[1].empty());

    const InferResponse as_raw{"ctr",
                               "",
                               "",
                               {{"y", "UINT8", {5'000}, Contents::none, {}, {}}, {"n", "FP32", {0}, Contents::none, {}, {}}},
                               {bytes_of(large), {}}};
    const std::string raw_message = text_of(write_infer_response(as_raw));
    std::vector<std::string> contents;
    for (wire::FieldReader fields(bytes_of(raw_message)); fields.next();) {
        if (fields.tag() == wire::tag_of(6, wire::WireType::bytes)) contents.push_back(text_of(fields.bytes()));
    }
    CHECK((contents == std::vector<std::string>{large, ""}));
}

TEST(spoiled_messages_are_refused_or_read) {
    MessageWriter floats;
    floats.bytes(6, bytes_of(raw<float>({1, 2, 3})));
    const std::string good =
        request_with({input("a", "FP32", {3}, text_of(floats.take())), input("b", "INT64", {3}, varints(3, {1, 2, 3}))});
    std::mt19937 random(7);
    for (int round = 0; round < 20'000; ++round) {
        std::string spoiled = good;
        for (unsigned change = random() % 4 + 1; change != 0; --change) {
            spoiled[random() % spoiled.size()] = static_cast<char>(random());
        }
        if (random() % 2 == 0) spoiled.resize(random() % (spoiled.size() + 1));
        try {
            read_infer_request(bytes_of(spoiled));
        } catch (const Error&) {
            continue;
        }
    }
}
