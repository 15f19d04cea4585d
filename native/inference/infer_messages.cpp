#include "inference/infer_messages.hpp"

#include <bit>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "base/text.hpp"
#include "wire/protobuf.hpp"

namespace persia::inference {

namespace {

using wire::FieldReader;
using wire::MessageWriter;
using wire::tag_of;
using wire::WireType;

constexpr std::size_t kMostDimensions = 64;
constexpr std::size_t kMostElements = std::size_t{1} << 28;

InferParameter parameter_of(Bytes message) {
    InferParameter parameter = false;
    for (FieldReader fields(message); fields.next();) {
        switch (fields.tag()) {
            case tag_of(1, WireType::varint):
                parameter = fields.varint() != 0;
                break;
            case tag_of(2, WireType::varint):
                parameter = static_cast<std::int64_t>(fields.varint());
                break;
            case tag_of(3, WireType::bytes):
                parameter = text_of(fields.bytes());
                break;
            case tag_of(4, WireType::fixed64):
                parameter = std::bit_cast<double>(fields.fixed64());
                break;
            case tag_of(5, WireType::varint):
                parameter = fields.varint();
                break;
            default:
                break;
        }
    }
    return parameter;
}

// An entry of the map.
void read_parameter(Bytes entry, InferParameters& into) {
    std::pair<std::string_view, InferParameter> read;
    for (FieldReader fields(entry); fields.next();) {
        if (fields.tag() == tag_of(1, WireType::bytes)) read.first = text_of(fields.bytes());
        if (fields.tag() == tag_of(2, WireType::bytes)) read.second = parameter_of(fields.bytes());
    }
    into.push_back(read);
}

// Appends numbers that came as varints, as wide as T is.
template <class T>
void append_as(const std::vector<std::uint64_t>& numbers, std::string& elements) {
    const std::size_t at = elements.size();
    elements.resize(at + numbers.size() * sizeof(T));
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        const auto element = static_cast<T>(numbers[i]);
        std::memcpy(elements.data() + at + i * sizeof(T), &element, sizeof(T));
    }
}

void append_varints(Contents kind, const std::vector<std::uint64_t>& numbers, std::string& elements) {
    switch (kind) {
        case Contents::bools:
            for (const std::uint64_t number : numbers) elements += number == 0 ? '\0' : '\1';
            break;
        case Contents::ints:
        case Contents::uints:
            append_as<std::uint32_t>(numbers, elements);
            break;
        default:
            append_as<std::uint64_t>(numbers, elements);
            break;
    }
}

// Appends numbers of a fixed width, of which the field has one or many. False: the field has something else.
bool append_fixed(const FieldReader& fields, WireType alone, std::size_t width, std::string& elements) {
    if ((fields.tag() & 7) == static_cast<std::uint32_t>(alone)) {
        const std::uint64_t bits = fields.fixed64();
        elements.append(reinterpret_cast<const char*>(&bits), width);
        return true;
    }
    if ((fields.tag() & 7) != static_cast<std::uint32_t>(WireType::bytes)) return false;
    const Bytes packed = fields.bytes();
    if (packed.size() % width != 0) {
        throw DecodeError("numbers of " + std::to_string(width) + " bytes each", std::to_string(packed.size()) + " bytes", 0);
    }
    elements.append(reinterpret_cast<const char*>(packed.data()), packed.size());
    return true;
}

// False: the field is none of the contents.
bool read_elements(const FieldReader& fields, Contents kind, ReadInput& into) {
    switch (kind) {
        case Contents::texts:
            if (fields.tag() != tag_of(8, WireType::bytes)) return false;
            into.texts.push_back(fields.bytes());
            return true;
        case Contents::fp32s:
            return append_fixed(fields, WireType::fixed32, sizeof(float), into.elements);
        case Contents::fp64s:
            return append_fixed(fields, WireType::fixed64, sizeof(double), into.elements);
        default: {
            std::vector<std::uint64_t> numbers;
            if (!fields.repeated(static_cast<std::uint32_t>(kind), kMostElements, numbers)) return false;
            append_varints(kind, numbers, into.elements);
            return true;
        }
    }
}

void read_contents(Bytes message, ReadInput& into) {
    for (FieldReader fields(message); fields.next();) {
        const std::uint32_t field = fields.tag() >> 3;
        if (field > static_cast<std::uint32_t>(Contents::texts)) continue;
        const auto kind = static_cast<Contents>(field);
        if (!read_elements(fields, kind, into)) continue;
        if (into.contents != Contents::none && into.contents != kind) {
            throw InvalidInput("expected contents of one kind for the tensor '" + std::string(into.name) + "', got two");
        }
        into.contents = kind;
    }
}

ReadInput input_of(Bytes message) {
    ReadInput input;
    std::vector<Bytes> contents;
    std::vector<std::uint64_t> shape;
    for (FieldReader fields(message); fields.next();) {
        if (fields.repeated(3, kMostDimensions, shape)) continue;
        switch (fields.tag()) {
            case tag_of(1, WireType::bytes):
                input.name = text_of(fields.bytes());
                break;
            case tag_of(2, WireType::bytes):
                input.datatype = text_of(fields.bytes());
                break;
            case tag_of(4, WireType::bytes):
                read_parameter(fields.bytes(), input.parameters);
                break;
            case tag_of(5, WireType::bytes):
                contents.push_back(fields.bytes());
                break;
            default:
                break;
        }
    }
    input.shape.assign(shape.begin(), shape.end());
    for (const Bytes part : contents) read_contents(part, input);
    return input;
}

ReadOutput output_of(Bytes message) {
    ReadOutput output;
    for (FieldReader fields(message); fields.next();) {
        if (fields.tag() == tag_of(1, WireType::bytes)) output.name = text_of(fields.bytes());
        if (fields.tag() == tag_of(2, WireType::bytes)) read_parameter(fields.bytes(), output.parameters);
    }
    return output;
}

Bytes bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

// Writes numbers of the width of T as varints.
template <class T>
void write_varints(MessageWriter& writer, Contents kind, Bytes elements) {
    std::vector<std::uint64_t> numbers(elements.size() / sizeof(T));
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        T element;
        std::memcpy(&element, elements.data() + i * sizeof(T), sizeof(T));
        numbers[i] = static_cast<std::uint64_t>(element);
    }
    writer.packed(static_cast<std::uint32_t>(kind), numbers);
}

void write_elements(MessageWriter& writer, const WrittenOutput& output) {
    switch (output.contents) {
        case Contents::none:
            break;
        case Contents::bools:
            return write_varints<std::uint8_t>(writer, output.contents, output.elements);
        case Contents::ints:
            return write_varints<std::int32_t>(writer, output.contents, output.elements);
        case Contents::uints:
            return write_varints<std::uint32_t>(writer, output.contents, output.elements);
        case Contents::int64s:
        case Contents::uint64s:
            return write_varints<std::uint64_t>(writer, output.contents, output.elements);
        case Contents::fp32s:
        case Contents::fp64s:
            return writer.bytes(static_cast<std::uint32_t>(output.contents), output.elements);
        case Contents::texts:
            for (const Bytes text : output.texts) writer.element(static_cast<std::uint32_t>(output.contents), text);
            break;
    }
}

std::string flat(const grpc::OutgoingMessage& message) {
    std::string all;
    all.reserve(message.size());
    for (const auto& piece : message.pieces()) all += text_of(piece.bytes);
    return all;
}

std::string written(const WrittenOutput& output) {
    MessageWriter writer;
    writer.bytes(1, bytes_of(output.name));
    writer.bytes(2, bytes_of(output.datatype));
    const std::vector<std::uint64_t> shape(output.shape.begin(), output.shape.end());
    writer.packed(3, shape);
    if (output.contents != Contents::none) {
        MessageWriter contents;
        write_elements(contents, output);
        writer.element(5, bytes_of(flat(contents.take())));
    }
    return flat(writer.take());
}

}  // namespace

InferRequest read_infer_request(Bytes message) {
    InferRequest request;
    for (FieldReader fields(message); fields.next();) {
        switch (fields.tag()) {
            case tag_of(1, WireType::bytes):
                request.model = text_of(fields.bytes());
                break;
            case tag_of(2, WireType::bytes):
                request.version = text_of(fields.bytes());
                break;
            case tag_of(3, WireType::bytes):
                request.id = text_of(fields.bytes());
                break;
            case tag_of(4, WireType::bytes):
                read_parameter(fields.bytes(), request.parameters);
                break;
            case tag_of(5, WireType::bytes):
                request.inputs.push_back(input_of(fields.bytes()));
                break;
            case tag_of(6, WireType::bytes):
                request.outputs.push_back(output_of(fields.bytes()));
                break;
            case tag_of(7, WireType::bytes):
                request.raw.push_back(fields.bytes());
                break;
            default:
                break;
        }
    }
    return request;
}

grpc::OutgoingMessage write_infer_response(const InferResponse& response) {
    MessageWriter writer;
    writer.bytes(1, bytes_of(response.model));
    writer.bytes(2, bytes_of(response.version));
    writer.bytes(3, bytes_of(response.id));
    std::vector<std::string> outputs;
    outputs.reserve(response.outputs.size());
    for (const WrittenOutput& output : response.outputs) {
        outputs.push_back(written(output));
        writer.element(5, bytes_of(outputs.back()));
    }
    grpc::OutgoingMessage message(flat(writer.take()));
    for (const Bytes raw : response.raw) {
        MessageWriter one;
        one.element(6, raw);
        for (auto& piece : one.take().pieces()) message.append(piece.bytes, std::move(piece.owner));
    }
    return message;
}

}  // namespace persia::inference
