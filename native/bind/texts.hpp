// Text of others, which is UTF-8 mostly.
#pragma once

#include <nanobind/nanobind.h>

#include <string_view>

namespace persia::bind {

// A header of HTTP may be any bytes: those that are no UTF-8 are taken for Latin-1, as TorchServe takes them.
inline nanobind::str text_of(std::string_view bytes) {
    const auto size = static_cast<Py_ssize_t>(bytes.size());
    auto text = nanobind::steal<nanobind::str>(PyUnicode_DecodeUTF8(bytes.data(), size, nullptr));
    if (!text.is_valid()) {
        PyErr_Clear();
        text = nanobind::steal<nanobind::str>(PyUnicode_DecodeLatin1(bytes.data(), size, nullptr));
    }
    if (!text.is_valid()) throw nanobind::python_error();
    return text;
}

}  // namespace persia::bind
