// Arrays across the border to Python.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace persia::bind {

template <class T>
using In1 = nanobind::ndarray<const T, nanobind::ndim<1>, nanobind::c_contig, nanobind::device::cpu>;
template <class T>
using In2 = nanobind::ndarray<const T, nanobind::ndim<2>, nanobind::c_contig, nanobind::device::cpu>;
template <class T>
using Out1 = nanobind::ndarray<nanobind::numpy, T, nanobind::ndim<1>>;
template <class T>
using Out2 = nanobind::ndarray<nanobind::numpy, T, nanobind::ndim<2>>;

template <class T>
std::span<const T> span(const In1<T>& array) {
    return {array.data(), array.shape(0)};
}

// An array that numpy frees; not initialised.
template <class T>
struct NewArray {
    explicit NewArray(std::size_t n) : data(new T[n]), owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); }) {}

    T* data;
    nanobind::capsule owner;
};

template <class T>
Out1<T> owned(std::vector<T>&& values) {
    auto kept = std::make_unique<std::vector<T>>(std::move(values));
    std::vector<T>* data = kept.get();
    nanobind::capsule owner(data, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    static_cast<void>(kept.release());
    return {data->data(), {data->size()}, owner};
}

// A read-only view that keeps `owner` alive.
template <class T>
nanobind::ndarray<nanobind::numpy, const T, nanobind::ndim<1>> view(const std::vector<T>& values, nanobind::handle owner) {
    return {values.data(), {values.size()}, owner};
}

}  // namespace persia::bind
