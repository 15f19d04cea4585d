// JSON of numbers, of which Python's own writer takes most of the time of an answer.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <cmath>
#include <string>

#include "base/number_text.hpp"
#include "base/problem_lines.hpp"
#include "bind.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

// What json.dumps(numbers, indent=2) gives; None unless there are numbers, and all of them are floats and finite.
nb::object lines_of(const nb::list& numbers) {
    std::string text;
    for (nb::handle number : numbers) {
        if (!PyFloat_CheckExact(number.ptr())) return nb::none();
        const double value = PyFloat_AS_DOUBLE(number.ptr());
        if (!std::isfinite(value)) return nb::none();
        text += text.empty() ? "[\n  " : ",\n  ";
        append_number(text, value);
    }
    if (text.empty()) return nb::none();
    text += "\n]";
    return nb::bytes(text.data(), text.size());
}

}  // namespace

void json_lines(nb::module_& module) {
    module.def("json_lines", lines_of, nb::arg("numbers"));
    module.def("set_problem_lines", set_problem_lines, nb::arg("json"));
    module.def("problem_line", [](const std::string& text) { return problem_line(text); }, nb::arg("text"));
}

}  // namespace persia::bind
