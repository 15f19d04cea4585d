#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <optional>
#include <string>

#include "arrays.hpp"
#include "base/error.hpp"
#include "batch.hpp"
#include "bind.hpp"
#include "plan/assemble.hpp"
#include "plan/plan_counts.hpp"
#include "release.hpp"
#include "request.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

constexpr nb::dlpack::dtype kHalf{static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float), 16, 1};
constexpr std::size_t kPartColumns = sizeof(RequestPart) / sizeof(std::uint32_t);

nb::list requests_of(nb::handle_t<Plan> self) {
    nb::list requests;
    for (const PlannedRequest& request : nb::cast<Plan&>(self).shards) {
        requests.append(nb::cast(PyRequest{nb::borrow(self), &request}));
    }
    return requests;
}

nb::ndarray<nb::numpy, const std::uint32_t, nb::ndim<2>> parts_of(const PyRequest& self) {
    const auto* data = reinterpret_cast<const std::uint32_t*>(self.request->parts.data());
    return {data, {self.request->parts.size(), kPartColumns}, self.plan};
}

using Answer = In1<float>;

// Memory for the tensors of all features in one piece: one allocation, and torch may share it. And their shapes as
// ForwardResponse has them.
nb::tuple new_room(const Plan& self) {
    TensorRoom room = room_of(self);
    const NewArray<std::uint16_t> numbers(room.size);
    const nb::ndarray<nb::numpy> halves(numbers.data, {room.size}, numbers.owner, {}, kHalf);
    return nb::make_tuple(halves, owned(std::move(room.shapes)));
}

using Room = nb::ndarray<nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void assemble_into(const Plan& plan, const std::vector<std::optional<Answer>>& answers, const Room& room) {
    const TensorRoom tensors = room_of(plan);
    const std::size_t total = tensors.size;
    if (room.dtype() != kHalf || room.shape(0) != total) {
        throw InvalidInput("expected room for " + std::to_string(total) + " numbers in f16, got " +
                           std::to_string(room.shape(0)) + " of " + std::to_string(room.dtype().bits) + " bits");
    }
    std::size_t bytes = total * sizeof(std::uint16_t);
    std::vector<std::span<const float>> columns;
    for (const auto& answer : answers) {
        // Only None says that a shard is missing; to assemble() an empty column does.
        const std::size_t s = columns.size();
        const std::size_t expected = s < plan.shards.size() ? plan.shards[s].view().answer_size() : 0;
        if (answer && answer->shape(0) == 0 && expected != 0) {
            throw InvalidInput("expected an answer of " + std::to_string(expected) + " numbers from shard " +
                               std::to_string(s) + ", got 0");
        }
        columns.push_back(answer ? span(*answer) : std::span<const float>());
        bytes += columns.back().size_bytes();
    }
    const ReleasedForWork released(bytes);
    assemble(plan, columns, tensors.tensors_in(static_cast<std::uint16_t*>(room.data())));
}

// Whether no thread can write to a buffer: it belongs to bytes, maybe through a memoryview.
bool is_constant(const Py_buffer& view) {
    PyObject* owner = view.obj;
    if (owner != nullptr && PyMemoryView_Check(owner)) owner = PyMemoryView_GET_BASE(owner);
    return owner != nullptr && PyBytes_Check(owner);
}

// The items of a bytes column. Copied where the bytes are not aligned to them, or may change between the check and the use.
template <class T>
class Column {
  public:
    Column(const char* name, const Buffer& buffer) {
        const std::span<const std::byte> bytes = buffer.bytes();
        if (bytes.size() % sizeof(T) != 0) {
            throw InvalidInput(std::string("expected ") + name + " in items of " + std::to_string(sizeof(T)) + " bytes, got " +
                               std::to_string(bytes.size()) + " bytes");
        }
        const std::size_t n = bytes.size() / sizeof(T);
        if (is_constant(buffer.view()) && reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(T) == 0) {
            items_ = {reinterpret_cast<const T*>(bytes.data()), n};
            return;
        }
        copy_.resize(n);
        if (n != 0) std::memcpy(copy_.data(), bytes.data(), bytes.size());
        items_ = copy_;
    }
    Column(const Column&) = delete;
    Column& operator=(const Column&) = delete;

    std::span<const T> items() const { return items_; }

  private:
    std::vector<T> copy_;
    std::span<const T> items_;
};

// The request as it came over the wire: a column of bytes each.
nb::tuple answer_columns(const Snapshot& snapshot, nb::handle parts, nb::handle signs, nb::handle sum_counts,
                         nb::handle sum_samples, std::size_t max_numbers) {
    const Buffer parts_buffer(parts, PyBUF_SIMPLE), signs_buffer(signs, PyBUF_SIMPLE), counts_buffer(sum_counts, PyBUF_SIMPLE),
        samples_buffer(sum_samples, PyBUF_SIMPLE);
    const Column<RequestPart> part_column("parts", parts_buffer);
    const Column<std::uint64_t> sign_column("signs", signs_buffer);
    const Column<std::uint32_t> count_column("sum_counts", counts_buffer);
    const Column<std::uint16_t> sample_column("sum_samples", samples_buffer);
    const RequestView request{part_column.items(), sign_column.items(), count_column.items(), sample_column.items()};
    {
        const Released released;
        check_request(request, max_numbers);
    }
    const std::size_t size = request.answer_size();
    NewArray<float> out(size);
    Misses misses;
    std::vector<RunMisses> by_part;
    {
        const Released released;
        misses = answer(snapshot, request, out.data, by_part);
    }
    return nb::make_tuple(Out1<float>(out.data, {size}, out.owner), misses.absent, misses.wrong_dim,
                          nb::bytes(by_part.data(), by_part.size() * sizeof(RunMisses)));
}

Out1<std::uint32_t> count(const Plan& plan, const std::vector<std::optional<nb::bytes>>& misses, FeatureCounts& counts) {
    std::vector<std::optional<std::span<const std::byte>>> columns;
    for (const auto& of_shard : misses) {
        if (of_shard) {
            columns.emplace_back(std::as_bytes(std::span(of_shard->c_str(), of_shard->size())));
        } else {
            columns.emplace_back();
        }
    }
    return owned(count_features(plan, columns, counts));
}

// (name, ids, new ids, wrong dim, cut) of each, and at the end those of all other features.
nb::list totals_of(const FeatureCounts& self) {
    nb::list totals;
    std::size_t i = 0;
    for (const FeatureCount& one : self.totals()) {
        const std::string name = i < self.names().size() ? self.names()[i] : "";
        totals.append(nb::make_tuple(name, one.ids, one.misses.absent, one.misses.wrong_dim, one.cut));
        ++i;
    }
    return totals;
}

}  // namespace

void routing(nb::module_& module) {
    nb::class_<FeatureCounts>(module, "FeatureCounts")
        .def(nb::init<std::vector<std::string>>(), nb::arg("names"))
        .def("totals", totals_of);
    nb::class_<PyRequest>(module, "ShardRequest")
        .def_prop_ro("parts", parts_of, nb::rv_policy::reference)
        .def_prop_ro(
            "signs", [](const PyRequest& self) { return view(self.request->signs, self.plan); }, nb::rv_policy::reference)
        .def_prop_ro(
            "sum_counts", [](const PyRequest& self) { return view(self.request->sum_counts, self.plan); },
            nb::rv_policy::reference)
        .def_prop_ro(
            "sum_samples", [](const PyRequest& self) { return view(self.request->sum_samples, self.plan); },
            nb::rv_policy::reference)
        .def_prop_ro("part_count", [](const PyRequest& self) { return self.request->parts.size(); })
        .def_prop_ro("answer_size", [](const PyRequest& self) { return self.request->view().answer_size(); });
    nb::class_<Plan>(module, "Plan")
        .def_prop_ro("feature_names",
                     [](const Plan& self) {
                         std::vector<std::string> names;
                         for (const PlannedFeature& feature : self.features) names.push_back(feature.slot->name);
                         return names;
                     })
        .def_prop_ro("cut_ids",
                     [](const Plan& self) {
                         std::vector<std::uint64_t> cut;
                         for (const PlannedFeature& feature : self.features) cut.push_back(feature.cut_ids);
                         return cut;
                     })
        .def_prop_ro("requests", requests_of)
        .def("room", new_room)
        .def("count", count, nb::arg("misses"), nb::arg("counts"))
        .def("assemble", assemble_into, nb::arg("answers").noconvert(), nb::arg("room").noconvert());
    module.def(
        "make_plan",
        [](const DecodedBatch& batch, const Slots& slots, std::uint32_t shards, std::size_t max_numbers) {
            const ReleasedForWork released(batch.bytes * slots.most_signs_per_id());
            return std::make_unique<Plan>(make_plan(batch.batch, slots, shards, max_numbers));
        },
        nb::arg("batch"), nb::arg("slots"), nb::arg("shards"), nb::arg("max_numbers") = kMaxTensorNumbers,
        nb::keep_alive<0, 2>());
    module.def("answer", answer_columns, nb::arg("snapshot"), nb::arg("parts"), nb::arg("signs"), nb::arg("sum_counts"),
               nb::arg("sum_samples"), nb::arg("max_numbers"));
}

}  // namespace persia::bind
