#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arrays.hpp"
#include "base/error.hpp"
#include "batch.hpp"
#include "batch/encode_batch.hpp"
#include "exclusive.hpp"
#include "release.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using Encoder = Exclusive<BatchEncoder>;
using Use = Encoder::Use;
using Tensor = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using Values = In1<std::uint64_t>;
using Offsets = In1<std::int64_t>;

DType dtype_of(nb::dlpack::dtype type, std::string_view name) {
    for (std::uint32_t tag = 0; tag <= static_cast<std::uint32_t>(DType::u64); ++tag) {
        const auto dtype = static_cast<DType>(tag);
        const auto code = static_cast<nb::dlpack::dtype_code>(type.code);
        const bool same_kind = dtype == DType::boolean ? code == nb::dlpack::dtype_code::Bool
                               : dtype <= DType::f64   ? code == nb::dlpack::dtype_code::Float
                               : dtype <= DType::i64   ? code == nb::dlpack::dtype_code::Int
                                                       : code == nb::dlpack::dtype_code::UInt;
        if (same_kind && type.lanes == 1 && type.bits == 8 * item_size(dtype)) return dtype;
    }
    throw FeatureError(std::string(name), "expected an array of bool, float16 to 64 or (u)int8 to 64");
}

TensorView view_of(const Tensor& array, std::string_view name) {
    TensorView view;
    view.dtype = dtype_of(array.dtype(), name);
    for (std::size_t i = 0; i < array.ndim(); ++i) view.shape.push_back(array.shape(i));
    view.data = {static_cast<const std::byte*>(array.data()), array.nbytes()};
    view.name = name;  // borrowed, as the data is: for the call only
    return view;
}

// struct's letter for 8 unsigned bytes of this machine; numpy says "L" or "Q", after a byte order where it is not aligned.
bool is_u64(const Py_buffer& view) {
    if (view.itemsize != 8 || view.format == nullptr) return false;
    std::string_view format(view.format);
    if (!format.empty() && std::string_view("@=<^").find(format[0]) != std::string_view::npos) format.remove_prefix(1);
    return format == "Q" || format == "L";
}

// The samples of one feature: borrowed from the arrays in a list, which stay locked for as long as this lives.
class Samples {
  public:
    Samples(nb::handle list, std::string_view name) {
        // A tuple of its own: looking at an array may run code that changes the caller's list.
        const nb::tuple items = nb::steal<nb::tuple>(PySequence_Tuple(list.ptr()));
        if (!items.is_valid()) throw nb::python_error();
        spans_.reserve(items.size());
        for (std::size_t i = 0; i < items.size(); ++i) add(items[i], i, name);
    }

    const std::vector<std::span<const std::uint64_t>>& spans() const { return spans_; }

  private:
    void add(nb::handle item, std::size_t i, std::string_view name) {
        const auto wrong = [&](const std::string& got) {
            return FeatureError(std::string(name),
                                "expected a 1-dimensional array of uint64 for sample " + std::to_string(i) + ", got " + got);
        };
        if (!PyObject_CheckBuffer(item.ptr())) throw wrong(std::string("a ") + Py_TYPE(item.ptr())->tp_name);
        try {
            buffers_.emplace_back(item, PyBUF_STRIDES | PyBUF_FORMAT);
        } catch (const nb::python_error&) {
            throw wrong(describe(item));  // numpy has no buffers for dates, for instance
        }
        const Py_buffer& view = buffers_.back().view();
        if (view.ndim != 1) throw wrong(std::to_string(view.ndim) + " dimensions");
        if (!is_u64(view)) throw wrong(describe(item));
        const auto size = static_cast<std::size_t>(view.shape[0]);
        const auto* data = static_cast<const std::byte*>(view.buf);
        const bool in_place = (view.strides[0] == 8 || size <= 1) && reinterpret_cast<std::uintptr_t>(data) % 8 == 0;
        if (!in_place) {
            std::vector<std::uint64_t>& copy = copies_.emplace_back(size);
            for (std::size_t k = 0; k < size; ++k)
                copy[k] = load<std::uint64_t>(data + static_cast<std::ptrdiff_t>(k) * view.strides[0]);
            spans_.emplace_back(copy);
            return;
        }
        spans_.emplace_back(reinterpret_cast<const std::uint64_t*>(data), size);
    }

    static std::string describe(nb::handle item) {
        std::string text = Py_TYPE(item.ptr())->tp_name;
        if (!nb::hasattr(item, "dtype")) return text;
        const nb::object dtype = nb::steal(PyObject_Str(nb::object(item.attr("dtype")).ptr()));
        if (!dtype.is_valid()) throw nb::python_error();
        return text + " of " + nb::cast<std::string>(dtype);
    }

    std::deque<Buffer> buffers_;
    std::deque<std::vector<std::uint64_t>> copies_;  // of arrays that are not contiguous or not aligned
    std::vector<std::span<const std::uint64_t>> spans_;
};

nb::bytes to_bytes(Encoder& shared) {
    const Use self(shared);
    const std::size_t size = self->size();
    nb::bytes bytes = nb::steal<nb::bytes>(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
    if (!bytes.is_valid()) throw nb::python_error();
    auto* out = reinterpret_cast<std::byte*>(PyBytes_AS_STRING(bytes.ptr()));
    const Released released;
    self->write_to(out);
    return bytes;
}

}  // namespace

void batch_encoder(nb::module_& module) {
    nb::class_<Encoder>(module, "BatchEncoder", "Puts a byte batch together. Not for use by two threads at a time.")
        .def(nb::init<>())
        .def(
            "add_dense",
            [](Encoder& self, const Tensor& data, std::string_view name) { Use(self)->add_dense(view_of(data, name)); },
            nb::arg("data").noconvert(), nb::arg("name"))
        .def(
            "add_label",
            [](Encoder& self, const Tensor& data, std::string_view name) { Use(self)->add_label(view_of(data, name)); },
            nb::arg("data").noconvert(), nb::arg("name"))
        .def(
            "add_ids",
            [](Encoder& self, std::string_view name, const Values& values, const Offsets& offsets) {
                const Released released;
                Use(self)->add_ids(name, span(values), span(offsets));
            },
            nb::arg("name"), nb::arg("values").noconvert(), nb::arg("offsets").noconvert(),
            "values (ids) u64; offsets (batch + 1) i64")
        .def(
            "add_single_ids",
            [](Encoder& self, std::string_view name, const Values& values) {
                const Released released;
                Use(self)->add_single_ids(name, span(values));
            },
            nb::arg("name"), nb::arg("values").noconvert(), "values (batch) u64")
        .def(
            "add_id_lists",
            [](Encoder& self, std::string_view name, nb::handle samples) {
                const Samples held(samples, name);
                const Released released;
                Use(self)->add_id_lists(name, held.spans());
            },
            nb::arg("name"), nb::arg("samples"), "samples: a list of (ids) u64 arrays")
        .def(
            "set_requires_grad", [](Encoder& self, bool value) { Use(self)->set_requires_grad(value); }, nb::arg("value"))
        .def(
            "set_meta",
            [](Encoder& self, nb::handle meta) {
                const Buffer buffer(meta, PyBUF_SIMPLE);
                Use(self)->set_meta(buffer.bytes());
            },
            nb::arg("meta"))
        .def(
            "set_batch_id", [](Encoder& self, std::uint64_t id) { Use(self)->set_batch_id(id); }, nb::arg("batch_id"))
        .def("to_bytes", to_bytes);
}

}  // namespace persia::bind
