#include "arrays.hpp"
#include "bind.hpp"

#include "persia/error.hpp"
#include "persia/hash.hpp"
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
}

}  // namespace persia::bind
