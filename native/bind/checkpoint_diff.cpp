#include "table/checkpoint_diff.hpp"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/shared_ptr.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "arrays.hpp"
#include "base/error.hpp"
#include "bind.hpp"
#include "layer.hpp"
#include "loading.hpp"
#include "release.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using Path = std::filesystem::path;
using Signs = In1<std::uint64_t>;
using GilFree = nb::call_guard<Released>;

// The quarters that tell recency in a file.
constexpr double kQuarters = 4;

// Locked, because the GIL is released while files are read. After an error of a file there is no diff any more: what was read
// until then can never be published.
class PyCheckpointDiff {
  public:
    PyCheckpointDiff(std::shared_ptr<const Snapshot> before, std::size_t most_bytes, std::uint64_t capacity)
        : capacity_(capacity), diff_(std::in_place, std::move(before), most_bytes, capacity) {}

    template <class F>
    auto with(F f) {
        const std::lock_guard lock(mutex_);
        return f(held());
    }

    std::uint64_t load(const Path& path, Shard only, NonFiniteRows* non_finite, std::uint64_t rows_of_checkpoint) {
        const std::lock_guard lock(mutex_);
        CheckpointDiff& diff = held();
        try {
            // The order of use decides which rows come, so it is only worth reading where not all do.
            const bool all = capacity_ == 0 || rows_of_checkpoint <= capacity_;
            EmbReader reader(path.string(), all ? Recency::skip : Recency::read);
            const unsigned least = all ? 0 : least_recency(rows_of_checkpoint);
            return put_file(reader, only, non_finite, [&](const RowBlock& block) { return diff.put(block, only, least); });
        } catch (...) {
            diff_.reset();
            throw;
        }
    }

    void finish(PyLayer& into) {
        const std::lock_guard lock(mutex_);
        Layer made = held().finish();
        replaced_ = held().replaced();
        added_ = held().added();
        left_out_ = held().left_out();
        removed_ = held().removed();
        diff_.reset();
        into.with([&](Layer& layer) {
            if (layer.rows.index().size() != 0) throw InvalidInput("expected a layer that is empty");
            layer = std::move(made);
        });
    }

    std::uint64_t replaced_ = 0, added_ = 0, left_out_ = 0, removed_ = 0;

  private:
    // A load of the checkpoint keeps about its most recently used rows: those of so many of its quarters, but one at least.
    unsigned least_recency(std::uint64_t rows_of_checkpoint) const {
        const double kept = kQuarters * static_cast<double>(capacity_) / static_cast<double>(rows_of_checkpoint);
        return static_cast<unsigned>(kQuarters - std::max(1.0, kept));
    }

    CheckpointDiff& held() {
        if (!diff_) throw InvalidInput("expected a diff that is not finished, and whose files could be read");
        return *diff_;
    }

    const std::uint64_t capacity_;
    std::mutex mutex_;
    std::optional<CheckpointDiff> diff_;
};

}  // namespace

void checkpoint_diff(nb::module_& module) {
    nb::class_<PyCheckpointDiff>(module, "CheckpointDiff")
        .def(nb::init<std::shared_ptr<const Snapshot>, std::size_t, std::uint64_t>(), nb::arg("before"), nb::arg("most_bytes"),
             nb::arg("capacity") = 0)
        .def(
            "keep",
            [](PyCheckpointDiff& self, const Signs& signs) {
                self.with([&](CheckpointDiff& diff) { diff.keep(span(signs)); });
            },
            nb::arg("signs").noconvert(), GilFree())
        .def(
            "renew",
            [](PyCheckpointDiff& self, const Signs& signs) {
                self.with([&](CheckpointDiff& diff) { diff.renew(span(signs)); });
            },
            nb::arg("signs").noconvert(), GilFree())
        .def(
            "load_emb",
            [](PyCheckpointDiff& self, const Path& path, std::uint32_t index, std::uint32_t count, std::uint64_t rows,
               NonFiniteRows* non_finite) { return self.load(path, shard(index, count), non_finite, rows); },
            nb::arg("path"), nb::arg("shard_index"), nb::arg("shard_count"), nb::arg("rows_of_checkpoint"),
            nb::arg("non_finite") = nb::none(), GilFree())
        .def("finish", &PyCheckpointDiff::finish, nb::arg("into"), GilFree())
        .def_ro("replaced", &PyCheckpointDiff::replaced_)
        .def_ro("added", &PyCheckpointDiff::added_)
        .def_ro("left_out", &PyCheckpointDiff::left_out_)
        .def_ro("removed", &PyCheckpointDiff::removed_);
}

}  // namespace persia::bind
