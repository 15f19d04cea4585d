#include "plan/slots.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bind.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

std::string text_of(const Slot& slot) {
    return "Slot('" + slot.name + "', dim=" + std::to_string(slot.dim) + (slot.summation ? "" : ", raw") + ")";
}

std::string text_of(const Slots& slots) {
    std::string text;
    for (const Slot& slot : slots.all()) text += (text.empty() ? "" : ", ") + text_of(slot);
    return "Slots([" + text + "])";
}

}  // namespace

void slots(nb::module_& module) {
    const Slot usual;
    nb::class_<Slot>(module, "Slot")
        .def(
            "__init__",
            [](Slot* self, std::string name, std::uint32_t dim, std::uint32_t sample_fixed_size, bool summation,
               bool sqrt_scaling, bool mean, bool weighted, bool keep_last, std::uint32_t hash_stack_rounds,
               std::uint64_t hash_stack_size, std::uint64_t prefix, bool f32, std::uint64_t modulo, bool ids_are_signs,
               std::optional<float> default_value, std::optional<std::uint64_t> default_id, bool keep_all) {
                new (self) Slot{std::move(name),
                                dim,
                                sample_fixed_size,
                                summation,
                                sqrt_scaling,
                                mean,
                                weighted,
                                keep_last,
                                hash_stack_rounds,
                                hash_stack_size,
                                prefix,
                                0,
                                f32,
                                modulo,
                                ids_are_signs,
                                default_value,
                                default_id,
                                keep_all};
            },
            nb::arg("name"), nb::arg("dim"), nb::kw_only(), nb::arg("sample_fixed_size") = usual.sample_fixed_size,
            nb::arg("summation") = usual.summation, nb::arg("sqrt_scaling") = usual.sqrt_scaling, nb::arg("mean") = usual.mean,
            nb::arg("weighted") = usual.weighted, nb::arg("keep_last") = usual.keep_last,
            nb::arg("hash_stack_rounds") = usual.hash_stack_rounds, nb::arg("hash_stack_size") = usual.hash_stack_size,
            nb::arg("prefix") = usual.prefix, nb::arg("f32") = usual.f32, nb::arg("modulo") = usual.modulo,
            nb::arg("ids_are_signs") = usual.ids_are_signs, nb::arg("default_value") = nb::none(),
            nb::arg("default_id") = nb::none(), nb::arg("keep_all") = usual.keep_all)
        .def("__repr__", [](const Slot& self) { return text_of(self); });
    nb::class_<Slots>(module, "Slots")
        .def(nb::init<std::vector<Slot>, unsigned>(), nb::arg("slots"), nb::arg("prefix_bits"))
        .def("__repr__", [](const Slots& self) { return text_of(self); });
}

}  // namespace persia::bind
