// Messages of the Open Inference Protocol, for the workers of a model server.
#include "inference/infer_messages.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string_view.h>

#include <cstdint>
#include <cstring>
#include <deque>
#include <string_view>
#include <variant>

#include "base/error.hpp"
#include "batch.hpp"
#include "bind.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using inference::Bytes;
using inference::Contents;
using inference::InferParameters;
using inference::InferRequest;
using inference::InferResponse;
using inference::ReadInput;
using inference::WrittenOutput;

nb::bytes bytes_of(Bytes bytes) { return nb::bytes(bytes.data(), bytes.size()); }

nb::str text_of(std::string_view text) {
    PyObject* decoded = PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), nullptr);
    if (decoded == nullptr) {
        PyErr_Clear();
        throw InvalidInput("expected names and other text in UTF-8, got other bytes");
    }
    return nb::steal<nb::str>(decoded);
}

nb::dict parameters_of(const InferParameters& parameters) {
    nb::dict all;
    for (const auto& [name, parameter] : parameters) {
        const auto value = std::visit(
            [](const auto& alternative) -> nb::object {
                if constexpr (std::is_same_v<std::decay_t<decltype(alternative)>, std::string_view>) {
                    return text_of(alternative);
                } else {
                    return nb::cast(alternative);
                }
            },
            parameter);
        all[text_of(name)] = value;
    }
    return all;
}

template <class Item>
nb::list list_of(const std::vector<Item>& items, nb::object (*convert)(const Item&)) {
    nb::list all;
    for (const Item& item : items) all.append(convert(item));
    return all;
}

nb::object elements_of(const ReadInput& input) {
    if (input.contents != Contents::texts) return nb::bytes(input.elements.data(), input.elements.size());
    return list_of<Bytes>(input.texts, [](const Bytes& text) -> nb::object { return bytes_of(text); });
}

nb::object input_of(const ReadInput& input) {
    const nb::list shape = list_of<std::int64_t>(input.shape, [](const std::int64_t& size) { return nb::cast(size); });
    return nb::make_tuple(text_of(input.name), text_of(input.datatype), nb::tuple(shape), parameters_of(input.parameters),
                          static_cast<std::uint32_t>(input.contents), elements_of(input));
}

nb::object output_of(const inference::ReadOutput& output) {
    return nb::make_tuple(text_of(output.name), parameters_of(output.parameters));
}

nb::tuple read_request(nb::handle message) {
    const Buffer buffer(message, PyBUF_SIMPLE);
    const InferRequest request = inference::read_infer_request(buffer.bytes());
    nb::list raw;
    for (const Bytes tensor : request.raw) raw.append(nb::make_tuple(tensor.data() - buffer.bytes().data(), tensor.size()));
    return nb::make_tuple(text_of(request.model), text_of(request.version), text_of(request.id),
                          parameters_of(request.parameters), list_of<ReadInput>(request.inputs, input_of),
                          list_of<inference::ReadOutput>(request.outputs, output_of), raw);
}

// What Python hands over for a response, which lives until it is written.
class Lent {
  public:
    Bytes of(nb::handle object) { return buffers_.emplace_back(object, PyBUF_SIMPLE).bytes(); }

  private:
    std::deque<Buffer> buffers_;
};

WrittenOutput written_output(nb::handle item, Lent& lent) {
    const auto given = nb::cast<nb::tuple>(item);
    WrittenOutput output;
    output.name = nb::cast<std::string_view>(given[0]);
    output.datatype = nb::cast<std::string_view>(given[1]);
    for (nb::handle size : nb::cast<nb::tuple>(given[2])) output.shape.push_back(nb::cast<std::int64_t>(size));
    output.contents = static_cast<Contents>(nb::cast<std::uint32_t>(given[3]));
    if (output.contents == Contents::texts) {
        for (nb::handle text : nb::cast<nb::list>(given[4])) output.texts.push_back(lent.of(text));
    } else if (output.contents != Contents::none) {
        output.elements = lent.of(given[4]);
    }
    return output;
}

nb::bytes write_response(std::string_view model, std::string_view version, std::string_view id, const nb::list& outputs,
                         const nb::list& raw) {
    Lent lent;
    InferResponse response{model, version, id, {}, {}};
    for (nb::handle output : outputs) response.outputs.push_back(written_output(output, lent));
    for (nb::handle tensor : raw) response.raw.push_back(lent.of(tensor));
    const grpc::OutgoingMessage message = inference::write_infer_response(response);
    const auto bytes = nb::steal<nb::bytes>(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(message.size())));
    if (!bytes.is_valid()) throw nb::python_error();
    char* to = PyBytes_AS_STRING(bytes.ptr());
    for (const auto& piece : message.pieces()) {
        std::memcpy(to, piece.bytes.data(), piece.bytes.size());
        to += piece.bytes.size();
    }
    return bytes;
}

}  // namespace

void infer_messages(nb::module_& module) {
    module.def("read_infer_request", read_request, nb::arg("message"));
    module.def("write_infer_response", write_response, nb::arg("model"), nb::arg("version"), nb::arg("id"), nb::arg("outputs"),
               nb::arg("raw"));
}

}  // namespace persia::bind
