#include <string>
#include <string_view>

#include "arrays.hpp"
#include "bind.hpp"

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/hash_string.hpp"
#include "batch.hpp"
#include "release.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

// f of each value.
template <class T, class F>
Out1<T> each(const In1<std::uint64_t>& values, F f) {
    const std::size_t n = values.shape(0);
    const NewArray<T> out(n);
    {
        const Released released;
        for (std::size_t i = 0; i < n; ++i) out.data[i] = f(values.data()[i]);
    }
    return {out.data, {n}, out.owner};
}

// The UTF-8 of a Python string, which the string keeps.
std::string_view utf8_of(PyObject* item, std::size_t i) {
    if (!PyUnicode_Check(item)) {
        throw InvalidInput("expected only strings, got " + std::string(Py_TYPE(item)->tp_name) + " at place " +
                           std::to_string(i));
    }
    Py_ssize_t size = 0;
    const char* data = PyUnicode_AsUTF8AndSize(item, &size);
    if (data == nullptr) {
        PyErr_Clear();
        throw InvalidInput("expected text that UTF-8 can hold, got half of a surrogate pair at place " + std::to_string(i));
    }
    return {data, static_cast<std::size_t>(size)};
}

Out1<std::uint64_t> hash_strings(const nb::list& strings) {
    const std::size_t n = strings.size();
    const NewArray<std::uint64_t> out(n);
    for (std::size_t i = 0; i < n; ++i) {
        // Looked at anew each time: a free-threaded interpreter may shorten the list.
        PyObject* item = PyList_GetItem(strings.ptr(), static_cast<Py_ssize_t>(i));
        if (item == nullptr) throw nb::python_error();
        out.data[i] = fingerprint64(utf8_of(item, i));
    }
    return {out.data, {n}, out.owner};
}

// Texts that lie one after the other, as Arrow keeps them.
Out1<std::uint64_t> hash_utf8(nb::handle bytes, const In1<std::int64_t>& offsets) {
    const Buffer buffer(bytes, PyBUF_SIMPLE);
    const auto text = buffer.bytes();
    const std::size_t n = offsets.shape(0) == 0 ? 0 : offsets.shape(0) - 1;
    const NewArray<std::uint64_t> out(n);
    const Released released;
    for (std::size_t i = 0; i < n; ++i) {
        const std::int64_t begin = offsets.data()[i], end = offsets.data()[i + 1];
        if (begin < 0 || end < begin || static_cast<std::size_t>(end) > text.size()) {
            throw InvalidInput("expected offsets that rise within " + std::to_string(text.size()) + " bytes, got " +
                               std::to_string(begin) + " and " + std::to_string(end) + " at place " + std::to_string(i));
        }
        out.data[i] =
            fingerprint64({reinterpret_cast<const char*>(text.data()) + begin, static_cast<std::size_t>(end - begin)});
    }
    return {out.data, {n}, out.owner};
}

}  // namespace

void signs(nb::module_& module) {
    module.def(
        "farmhash64", [](const In1<std::uint64_t>& values) { return each<std::uint64_t>(values, farmhash64); },
        nb::arg("values").noconvert(), "farmhash64 of the 8 little-endian bytes of each value. (n) u64 -> (n) u64");
    module.def(
        "shard_of",
        [](const In1<std::uint64_t>& values, std::uint32_t shards) {
            if (shards == 0) throw InvalidInput("expected at least 1 shard, got 0");
            return each<std::uint32_t>(values, [shards](std::uint64_t sign) { return shard_of(sign, shards); });
        },
        nb::arg("signs").noconvert(), nb::arg("shards"), "The shard that each sign lives on. (n) u64 -> (n) u32");
    module.def("hash_strings", hash_strings, nb::arg("strings"), "fingerprint64 of each string's UTF-8. -> (n) u64");
    module.def("hash_utf8", hash_utf8, nb::arg("text"), nb::arg("offsets").noconvert(),
               "fingerprint64 of each text. Text i is the bytes from offset i to i + 1. (n + 1) i64 -> (n) u64");
}

}  // namespace persia::bind
