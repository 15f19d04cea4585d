// What the bindings of batches and of routing share.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <span>

#include "batch/batch.hpp"
#include "release.hpp"

namespace persia::bind {

// Holds a Python buffer, which keeps its owner from moving or freeing it. Made and destroyed with the GIL.
class Buffer {
  public:
    // Throws the Python error of an object that has no such buffer.
    Buffer(nanobind::handle object, int flags) {
        if (PyObject_GetBuffer(object.ptr(), &view_, flags) != 0) throw nanobind::python_error();
    }
    ~Buffer() { PyBuffer_Release(&view_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    const Py_buffer& view() const { return view_; }
    std::span<const std::byte> bytes() const {
        return {static_cast<const std::byte*>(view_.buf), static_cast<std::size_t>(view_.len)};
    }

  private:
    Py_buffer view_{};
};

// The batch and the bytes it borrows from.
struct DecodedBatch {
    DecodedBatch(nanobind::handle bytes, Batch (*decode)(std::span<const std::byte>)) : buffer(bytes, PyBUF_SIMPLE) {
        const ReleasedForWork released(buffer.bytes().size());
        batch = decode(buffer.bytes());
    }

    Buffer buffer;
    Batch batch;
};

void batch_encoder(nanobind::module_& module);

}  // namespace persia::bind
