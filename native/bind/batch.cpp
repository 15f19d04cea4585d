#include "batch.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <tuple>

#include "arrays.hpp"
#include "base/error.hpp"
#include "batch/batch.hpp"
#include "batch/id_part.hpp"
#include "batch/merge_batches.hpp"
#include "batch/weights.hpp"
#include "bind.hpp"
#include "release.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

// Arrays name their own owner; a property would add itself as another.
constexpr auto kAsMade = nb::rv_policy::automatic;

using AnyArray = nb::ndarray<nb::numpy, nb::ro>;

struct Feature {
    nb::object owner;  // the DecodedBatch, which its arrays keep alive
    const Batch* batch;
    const FeatureView* view;

    std::size_t ids() const { return view->ids_end - view->ids_begin; }
};

nb::dlpack::dtype dlpack_dtype(DType dtype) {
    const auto kind = [dtype]() -> nb::dlpack::dtype_code {
        switch (dtype) {
            case DType::boolean:
                return nb::dlpack::dtype_code::Bool;
            case DType::f16:
            case DType::f32:
            case DType::f64:
                return nb::dlpack::dtype_code::Float;
            case DType::i8:
            case DType::i16:
            case DType::i32:
            case DType::i64:
                return nb::dlpack::dtype_code::Int;
            default:
                return nb::dlpack::dtype_code::UInt;
        }
    }();
    return {static_cast<std::uint8_t>(kind), static_cast<std::uint8_t>(8 * item_size(dtype)), 1};
}

AnyArray tensor_array(const TensorView& tensor, nb::handle owner) {
    const std::vector<std::size_t> shape(tensor.shape.begin(), tensor.shape.end());
    return AnyArray(tensor.data.data(), shape.size(), shape.data(), owner, nullptr, dlpack_dtype(tensor.dtype));
}

nb::list tensor_arrays(const std::vector<TensorView>& tensors, nb::handle owner) {
    nb::list arrays;
    for (const TensorView& tensor : tensors) arrays.append(tensor_array(tensor, owner));
    return arrays;
}

nb::list tensor_names(const std::vector<TensorView>& tensors) {
    nb::list names;
    for (const TensorView& tensor : tensors) names.append(nb::cast(tensor.name));
    return names;
}

template <class T>
nb::ndarray<nb::numpy, const T, nb::ndim<1>> column(const T* data, std::size_t size, nb::handle owner) {
    return {data, {size}, owner};
}

nb::list features_of(nb::handle_t<DecodedBatch> self) {
    const Batch& batch = nb::cast<DecodedBatch&>(self).batch;
    nb::list features;
    for (const FeatureView& view : batch.features) features.append(nb::cast(Feature{nb::borrow(self), &batch, &view}));
    return features;
}

// (ids + 1) counted from the feature's own first position, unlike those of the batch.
Out1<std::uint32_t> offsets_of(const Feature& self) {
    const std::size_t size = self.ids() + 1;
    const NewArray<std::uint32_t> offsets(size);
    const std::uint32_t* from = self.batch->position_offsets.data() + self.view->ids_begin;
    for (std::size_t i = 0; i < size; ++i) offsets.data[i] = from[i] - from[0];
    return {offsets.data, {size}, offsets.owner};
}

std::unique_ptr<DecodedBatch> merged_of(nb::list batches) {
    std::vector<const Batch*> each;
    std::size_t bytes = 0;
    for (nb::handle item : batches) {
        const auto& decoded = nb::cast<const DecodedBatch&>(item);
        each.push_back(&decoded.batch);
        bytes += decoded.bytes;
    }
    Batch merged;
    {
        const ReleasedForWork released(bytes);
        merged = merge_batches(each);
    }
    // A copy of the list: the caller may change its own.
    return std::make_unique<DecodedBatch>(nb::steal(PyList_AsTuple(batches.ptr())), std::move(merged), bytes);
}

std::optional<Out1<float>> weights_or_none(const Feature& self) {
    if (!self.view->weights) return std::nullopt;
    return owned(weights_of(*self.batch, *self.view));
}

nb::bytes ids_of(const DecodedBatch& self) {
    if (!self.batch.has_ids) throw InvalidInput("the batch has no id features");
    Writer out;
    {
        const Released released;
        encode_ids(self.batch, out);
    }
    return nb::bytes(out.view().data(), out.size());
}

void append_name(std::string& key, std::string_view name) {
    const auto size = static_cast<std::uint32_t>(name.size());
    key.append(reinterpret_cast<const char*>(&size), sizeof size);
    key.append(name);
}

void append_names(std::string& key, const std::vector<TensorView>& tensors) {
    append_name(key, std::to_string(tensors.size()));
    for (const TensorView& tensor : tensors) {
        key.push_back(tensor.name ? 1 : 0);
        if (tensor.name) append_name(key, *tensor.name);
    }
}

nb::bytes names_key(const DecodedBatch& self) {
    std::string key;
    key.reserve(32 * self.batch.features.size() + 64);
    append_names(key, self.batch.dense);
    append_names(key, self.batch.labels);
    for (const FeatureView& view : self.batch.features) append_name(key, view.name);
    return nb::bytes(key.data(), key.size());
}

nb::list feature_names(const DecodedBatch& self) {
    nb::list names;
    for (const FeatureView& view : self.batch.features) names.append(nb::cast(view.name));
    return names;
}

using NotSingle = std::tuple<std::size_t, std::size_t, std::uint32_t>;  // place, sample, how many ids

std::optional<NotSingle> first_not_single(const DecodedBatch& self, const std::vector<std::size_t>& places) {
    for (const std::size_t place : places) {
        if (place >= self.batch.features.size()) {
            throw InvalidInput("expected a feature before place " + std::to_string(self.batch.features.size()) + ", got " +
                               std::to_string(place));
        }
        const FeatureView& view = self.batch.features[place];
        const std::uint32_t* counts = self.batch.ids_per_sample.data() + view.samples_begin;
        const std::uint32_t* found = std::find_if(counts, counts + view.batch_size, [](auto count) { return count != 1; });
        if (found != counts + view.batch_size) {
            return NotSingle{place, static_cast<std::size_t>(found - counts), *found};
        }
    }
    return std::nullopt;
}

void bind_feature(nb::module_& module) {
    nb::class_<Feature>(module, "BatchFeature", "A feature of a decoded batch. Arrays are read-only views of the batch.")
        .def_prop_ro("name", [](const Feature& self) { return self.view->name; })
        .def_prop_ro("batch_size", [](const Feature& self) { return self.view->batch_size; })
        .def_prop_ro(
            "ids",
            [](const Feature& self) { return column(self.batch->ids.data() + self.view->ids_begin, self.ids(), self.owner); },
            kAsMade, "(ids) u64, each once if the sender kept to the format")
        .def_prop_ro("offsets", offsets_of, kAsMade, "(ids + 1) u32 into positions; a copy")
        .def_prop_ro(
            "positions",
            [](const Feature& self) {
                const std::uint32_t begin = self.batch->position_offsets[self.view->ids_begin];
                const std::uint32_t end = self.batch->position_offsets[self.view->ids_end];
                const auto* data = reinterpret_cast<const std::uint16_t*>(self.batch->positions.data() + begin);
                return nb::ndarray<nb::numpy, const std::uint16_t, nb::ndim<2>>(data, {end - begin, 2}, self.owner);
            },
            kAsMade, "(positions, 2) u16: sample and column")
        .def_prop_ro(
            "ids_per_sample",
            [](const Feature& self) {
                return column(self.batch->ids_per_sample.data() + self.view->samples_begin, self.view->batch_size, self.owner);
            },
            kAsMade, "(batch_size) u32, duplicates included")
        .def_prop_ro("weights", weights_or_none, kAsMade, "(positions) f32, sample after sample; a copy; None without weights");
}

}  // namespace

void batch(nb::module_& module) {
    bind_feature(module);
    nb::class_<DecodedBatch>(module, "Batch", "A decoded byte batch. Arrays are read-only views that keep its bytes alive.")
        .def_prop_ro(
            "dense",
            [](nb::handle_t<DecodedBatch> self) { return tensor_arrays(nb::cast<DecodedBatch&>(self).batch.dense, self); })
        .def_prop_ro("dense_names", [](const DecodedBatch& self) { return tensor_names(self.batch.dense); })
        .def_prop_ro(
            "labels",
            [](nb::handle_t<DecodedBatch> self) { return tensor_arrays(nb::cast<DecodedBatch&>(self).batch.labels, self); })
        .def_prop_ro("label_names", [](const DecodedBatch& self) { return tensor_names(self.batch.labels); })
        .def_prop_ro("features", features_of)
        .def_prop_ro("feature_names", feature_names)
        .def_prop_ro("names_key", names_key)
        .def_prop_ro("has_ids", [](const DecodedBatch& self) { return self.batch.has_ids; })
        .def_prop_ro("requires_grad", [](const DecodedBatch& self) { return self.batch.requires_grad; })
        .def_prop_ro("meta",
                     [](const DecodedBatch& self) -> std::optional<nb::bytes> {
                         if (!self.batch.meta) return std::nullopt;
                         return nb::bytes(self.batch.meta->data(), self.batch.meta->size());
                     })
        .def("encode_ids", ids_of)
        .def("first_not_single", first_not_single, nb::arg("places"))
        .def_prop_ro("batch_id", [](const DecodedBatch& self) { return self.batch.batch_id; })
        .def_prop_ro("requests", [](const DecodedBatch& self) { return self.batch.requests; })
        .def_prop_ro("samples", [](const DecodedBatch& self) {
            return self.batch.features.empty() ? 0 : self.batch.features.front().batch_size;
        });
    module.def(
        "decode_batch", [](nb::handle data) { return std::make_unique<DecodedBatch>(data, decode_batch); }, nb::arg("data"),
        "Decodes a byte batch. Raises DecodeError.");
    module.def(
        "decode_ids", [](nb::handle data) { return std::make_unique<DecodedBatch>(data, decode_ids); }, nb::arg("data"),
        "Decodes the ids that Batch.encode_ids made. Raises DecodeError.");
    module.def("merge_batches", merged_of, nb::arg("batches"), "Several batches as one, to be looked up together.");
    batch_encoder(module);
}

}  // namespace persia::bind
