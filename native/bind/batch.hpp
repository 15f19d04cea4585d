// What the bindings of batches and of routing share.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <optional>
#include <span>
#include <utility>

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

// The batch and what it borrows from.
struct DecodedBatch {
    DecodedBatch(nanobind::handle object, Batch (*decode)(std::span<const std::byte>)) {
        bytes = buffer.emplace(object, PyBUF_SIMPLE).bytes().size();
        const ReleasedForWork released(bytes);
        batch = decode(buffer->bytes());
    }
    // merged: from those that `owners` are, which had so many bytes.
    DecodedBatch(nanobind::object owners, Batch merged, std::size_t bytes)
        : owners(std::move(owners)), batch(std::move(merged)), bytes(bytes) {}

    std::optional<Buffer> buffer;
    nanobind::object owners;
    Batch batch;
    std::size_t bytes;
};

void batch_encoder(nanobind::module_& module);

}  // namespace persia::bind
