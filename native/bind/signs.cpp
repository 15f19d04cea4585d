#include "bind.hpp"

#include <nanobind/ndarray.h>

#include "persia/error.hpp"
#include "persia/hash.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using Signs = nb::ndarray<const std::uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Result64 = nb::ndarray<nb::numpy, std::uint64_t, nb::ndim<1>>;
using Result32 = nb::ndarray<nb::numpy, std::uint32_t, nb::ndim<1>>;

template <class T, class F>
nb::ndarray<nb::numpy, T, nb::ndim<1>> each(const Signs& values, F f) {
    const std::size_t n = values.shape(0);
    auto* out = new T[n];
    nb::capsule owner(out, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    {
        nb::gil_scoped_release release;
        const std::uint64_t* in = values.data();
        for (std::size_t i = 0; i < n; ++i) out[i] = f(in[i]);
    }
    return nb::ndarray<nb::numpy, T, nb::ndim<1>>(out, {n}, owner);
}

}  // namespace

void signs(nb::module_& module) {
    module.def(
        "farmhash64", [](const Signs& values) -> Result64 { return each<std::uint64_t>(values, farmhash64); },
        nb::arg("values"), "farmhash64 of the 8 little-endian bytes of each value. (n) u64 -> (n) u64");
    module.def(
        "shard_of",
        [](const Signs& values, std::uint32_t shards) -> Result32 {
            if (shards == 0) throw InvalidInput("expected at least 1 shard, got 0");
            return each<std::uint32_t>(values, [shards](std::uint64_t sign) { return shard_of(sign, shards); });
        },
        nb::arg("signs"), nb::arg("shards"), "The shard that each sign lives on. (n) u64 -> (n) u32");
}

}  // namespace persia::bind
