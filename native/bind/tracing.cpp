#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bind.hpp"
#include "release.hpp"
#include "times.hpp"
#include "tracing/span.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using persia::tracing::Caller;
using persia::tracing::FinishedSpan;
using persia::tracing::SpanKind;
using persia::tracing::SpanRing;

const char* name_of(SpanKind kind) {
    switch (kind) {
        case SpanKind::server:
            return "server";
        case SpanKind::client:
            return "client";
        case SpanKind::internal:
            break;
    }
    return "internal";
}

template <class Id>
nb::bytes bytes_of(const Id& id) {
    return nb::bytes(reinterpret_cast<const char*>(id.data()), id.size());
}

// Const members are no matter to Python, which changes nothing of it.
std::shared_ptr<Caller> caller_of(std::shared_ptr<SpanRing> ring, const std::string& traceparent,
                                  const std::string& tracestate) {
    auto context = persia::tracing::parse_trace_context(traceparent, tracestate);
    if (!context || !context->is_sampled()) return nullptr;
    return std::make_shared<Caller>(Caller{std::move(ring), std::move(*context)});
}

}  // namespace

void tracing(nb::module_& module) {
    nb::class_<FinishedSpan>(module, "FinishedSpan")
        .def_ro("name", &FinishedSpan::name)
        .def_prop_ro("kind", [](const FinishedSpan& self) { return name_of(self.kind); })
        .def_prop_ro("trace_id", [](const FinishedSpan& self) { return bytes_of(self.context.trace); })
        .def_prop_ro("span_id", [](const FinishedSpan& self) { return bytes_of(self.context.span); })
        .def_prop_ro("parent_id", [](const FinishedSpan& self) { return bytes_of(self.parent); })
        .def_prop_ro("flags", [](const FinishedSpan& self) { return self.context.flags; })
        .def_prop_ro("state", [](const FinishedSpan& self) { return self.context.state; })
        .def_ro("began_ns", &FinishedSpan::began_ns)
        .def_ro("ended_ns", &FinishedSpan::ended_ns)
        .def_prop_ro("facts",
                     [](const FinishedSpan& self) {
                         nb::dict facts;
                         for (const auto& [key, value] : self.facts) facts[key.c_str()] = nb::cast(value);
                         return facts;
                     })
        .def_ro("failed", &FinishedSpan::failed)
        .def_ro("problem", &FinishedSpan::problem);
    nb::class_<Caller>(module, "Caller");
    nb::class_<SpanRing>(module, "SpanRing")
        .def(nb::new_([](std::size_t most) { return std::make_shared<SpanRing>(most); }), nb::arg("most"))
        .def("caller", caller_of, nb::arg("traceparent"), nb::arg("tracestate") = "")
        .def(
            "take",
            [](SpanRing& self, double after) {
                const Released released;
                return self.take(milliseconds_of(after));
            },
            nb::arg("after"))
        .def("close", &SpanRing::close)
        .def_prop_ro("dropped", &SpanRing::dropped);
}

}  // namespace persia::bind
