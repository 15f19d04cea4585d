// What a model server counts, and who may ask it, as its Python sees them.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bind.hpp"
#include "inference/answer_observer.hpp"
#include "inference/keys.hpp"
#include "release.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using inference::AccessLog;
using inference::AnswerObserver;
using inference::Key;
using inference::Keys;

std::shared_ptr<AnswerObserver> make_answers(const std::optional<std::string>& access_log) {
    const Released released;
    return std::make_shared<AnswerObserver>(access_log ? std::make_unique<AccessLog>(*access_log) : nullptr);
}

nb::dict counts_of(const AnswerObserver& self) {
    const AnswerObserver::Counts counts = self.counts();
    nb::dict all;
    all["2XX"] = counts.good;
    all["4XX"] = counts.client_errors;
    all["5XX"] = counts.server_errors;
    return all;
}

// Each with the seconds since 1970 until which it counts.
void set_keys(Keys& self, const std::vector<std::pair<std::string, std::optional<double>>>& keys) {
    std::vector<Key> all;
    for (const auto& [text, until] : keys) {
        Key key{text, std::nullopt};
        if (until) {
            const auto since =
                std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::duration<double>(*until));
            key.until = std::chrono::system_clock::time_point(since);
        }
        all.push_back(std::move(key));
    }
    const Released released;
    self.set(all);
}

}  // namespace

void inference_answers_and_keys(nb::module_& module) {
    nb::class_<AnswerObserver, grpc::CallObserver>(module, "AnswerObserver")
        .def(nb::new_(&make_answers), nb::arg("access_log").none() = nb::none())
        .def("counts", counts_of);
    nb::class_<Keys, grpc::Guard>(module, "Keys")
        .def(nb::new_([](std::string holder, bool needs_certificate, std::string check) {
                 return std::make_shared<Keys>(std::move(holder), needs_certificate, std::move(check));
             }),
             nb::arg("holder"), nb::arg("needs_certificate") = false, nb::arg("check") = "Authorization")
        .def("set", set_keys, nb::arg("keys"));
}

}  // namespace persia::bind
