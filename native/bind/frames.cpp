#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "batch.hpp"
#include "bind.hpp"
#include "persia/error.hpp"
#include "persia/frame_call.hpp"
#include "persia/frame_exchange.hpp"
#include "persia/frame_lane.hpp"
#include "persia/shard_answers.hpp"
#include "release.hpp"
#include "request.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

void ask_bytes(FrameCall& self, std::uint16_t turn, std::span<const std::span<const std::byte>> columns, bool connected) {
    std::size_t size = 0;
    for (const auto& column : columns) size += column.size();
    const ReleasedForWork released(size);
    self.ask(turn, columns, connected);
}

void ask(FrameCall& self, std::uint16_t turn, const nb::list& columns, const nb::bytes& message, bool connected) {
    if (columns.size() >= kMaxFrameColumns) {
        throw InvalidInput("expected at most 5 columns beside the message, got " + std::to_string(columns.size()));
    }
    std::vector<std::unique_ptr<Buffer>> buffers;
    std::vector<std::span<const std::byte>> bytes;
    for (const nb::handle column : columns) {
        buffers.push_back(std::make_unique<Buffer>(column, PyBUF_SIMPLE));
        bytes.push_back(buffers.back()->bytes());
    }
    bytes.push_back(std::as_bytes(std::span(message.c_str(), message.size())));
    ask_bytes(self, turn, bytes, connected);
}

void ask_shard(FrameCall& self, std::uint16_t turn, const PyRequest& request, const nb::bytes& message, bool connected) {
    const RequestView view = request.request->view();
    const std::span<const std::byte> columns[] = {std::as_bytes(view.parts), std::as_bytes(view.signs),
                                                  std::as_bytes(view.sum_counts), std::as_bytes(view.sum_samples),
                                                  std::as_bytes(std::span(message.c_str(), message.size()))};
    ask_bytes(self, turn, columns, connected);
}

// Each column of the answer as an array, which share its memory, and the message; None unless it is whole.
nb::object take(FrameCall& self) {
    if (self.state() != FrameCall::State::whole) return nb::none();
    FrameCall::Answer answer = self.take();
    const nb::capsule owner(answer.frame.get(), [](void* memory) noexcept { delete[] static_cast<std::byte*>(memory); });
    std::byte* column = answer.frame.release() + sizeof(FrameHeader);
    nb::list columns;
    for (std::size_t i = 0; i + 1 < answer.header.columns; ++i) {
        const std::size_t size = answer.header.lengths[i];
        columns.append(nb::ndarray<nb::numpy, std::uint8_t, nb::ndim<1>>(column, {size}, owner));
        column += size;
    }
    return nb::make_tuple(columns, nb::bytes(column, answer.header.lengths[answer.header.columns - 1]));
}

void wait_for(const std::vector<FrameCall*>& calls, const std::vector<int>& descriptors, double seconds, double awake) {
    if (std::ranges::find(calls, nullptr) != calls.end()) throw InvalidInput("expected calls, got None");
    const Released released;
    exchange(calls, descriptors, seconds, awake);
}

template <class T>
std::vector<T> copy_of(nb::handle column) {
    const Buffer buffer(column, PyBUF_SIMPLE);
    std::vector<T> items(buffer.bytes().size() / sizeof(T));
    if (!items.empty()) std::memcpy(items.data(), buffer.bytes().data(), items.size() * sizeof(T));
    return items;
}

void count_lookup(ShardAnswers& self, nb::handle parts, std::uint64_t absent, std::uint64_t wrong_dim, nb::handle misses) {
    const auto all = copy_of<RequestPart>(parts);
    const auto by_part = copy_of<RunMisses>(misses);
    if (!by_part.empty() && by_part.size() != all.size()) {
        throw InvalidInput("expected misses of " + std::to_string(all.size()) + " parts, got " +
                           std::to_string(by_part.size()));
    }
    self.count(all, {absent, wrong_dim}, by_part);
}

void bind_lanes(nb::module_& module) {
    nb::class_<LookupTotals>(module, "FrameLookupTotals")
        .def_ro("lookups", &LookupTotals::lookups)
        .def_ro("signs", &LookupTotals::signs)
        .def_prop_ro("absent", [](const LookupTotals& self) { return self.misses.absent; })
        .def_prop_ro("wrong_dim", [](const LookupTotals& self) { return self.misses.wrong_dim; })
        .def_prop_ro("seconds", [](const LookupTotals& self) { return static_cast<double>(self.nanoseconds) * 1e-9; })
        .def_ro("within", &LookupTotals::within)
        .def_ro("beyond", &LookupTotals::beyond);
    nb::class_<ShardAnswers>(module, "ShardAnswers")
        .def(
            "__init__",
            [](ShardAnswers* self, const nb::bytes& request, std::uint64_t start, std::size_t max_numbers,
               std::vector<double> bounds, std::vector<std::string> features) {
                new (self) ShardAnswers(std::string(request.c_str(), request.size()), start, max_numbers, std::move(bounds),
                                        std::move(features));
            },
            nb::arg("request"), nb::arg("start"), nb::arg("max_numbers"), nb::arg("bounds"), nb::arg("features"))
        .def("open", &ShardAnswers::open, nb::arg("table"), nb::arg("checkpoint"), nb::keep_alive<1, 2>())
        .def("close", &ShardAnswers::close)
        .def("count", count_lookup, nb::arg("parts"), nb::arg("absent"), nb::arg("wrong_dim"), nb::arg("misses"))
        .def_prop_ro("features", &ShardAnswers::features, nb::rv_policy::reference_internal)
        .def("took", &ShardAnswers::took, nb::arg("seconds"))
        .def("totals", &ShardAnswers::totals);
    nb::class_<FrameLane>(module, "FrameLane")
        .def(nb::init<ShardAnswers&>(), nb::arg("answers"), nb::keep_alive<1, 2>())
        .def(
            "serve",
            [](FrameLane& self, int socket) {
                std::span<const std::byte> rest;
                {
                    const Released released;
                    rest = self.serve(socket);
                }
                return nb::bytes(rest.data(), rest.size());
            },
            nb::arg("socket"))
        .def_prop_ro("waits_since", &FrameLane::waits_since);
}

}  // namespace

void frames(nb::module_& module) {
    bind_lanes(module);
    nb::class_<FrameCall>(module, "FrameCall")
        .def(nb::init<int, std::size_t, std::uint64_t>(), nb::arg("socket"), nb::arg("columns"), nb::arg("max_bytes"))
        .def("ask", ask_shard, nb::arg("turn"), nb::arg("columns"), nb::arg("message"), nb::arg("connected"))
        .def("ask", ask, nb::arg("turn"), nb::arg("columns"), nb::arg("message"), nb::arg("connected"))
        .def("take", take)
        .def_prop_ro("failed", [](const FrameCall& self) { return self.state() == FrameCall::State::failed; })
        .def_prop_ro("error", &FrameCall::error)
        .def_prop_ro("quiet", &FrameCall::quiet)
        .def_prop_ro("got", &FrameCall::got)
        .def_prop_ro("start", [](const FrameCall& self) { return nb::bytes(self.start().data(), self.start().size()); });
    module.def("exchange", wait_for, nb::arg("calls"), nb::arg("descriptors"), nb::arg("seconds"), nb::arg("awake") = 0.0);
}

}  // namespace persia::bind
