// One function per noun; module.cpp is their table of contents.
#pragma once

#include <nanobind/nanobind.h>

#include <string>

namespace persia::bind {

// A path as Python spells it, also one that is not UTF-8.
inline nanobind::str file_name(const std::string& path) {
    return nanobind::steal<nanobind::str>(PyUnicode_DecodeFSDefaultAndSize(path.data(), static_cast<Py_ssize_t>(path.size())));
}

void errors(nanobind::module_& module);
void signs(nanobind::module_& module);
void batch(nanobind::module_& module);
void files(nanobind::module_& module);
void filling(nanobind::module_& module);
void table(nanobind::module_& module);
void checkpoint_diff(nanobind::module_& module);
void slots(nanobind::module_& module);
void routing(nanobind::module_& module);
void grpc_server(nanobind::module_& module);
void serving_methods(nanobind::module_& module);
void replicas(nanobind::module_& module);
void routers(nanobind::module_& module);
void row_scan(nanobind::module_& module);
void row_digest(nanobind::module_& module);
void growing_files(nanobind::module_& module);
void certificates(nanobind::module_& module);
void security(nanobind::module_& module);
void tracing(nanobind::module_& module);
void inference_models(nanobind::module_& module);
void inference_answers_and_keys(nanobind::module_& module);
void worker_channel(nanobind::module_& module);
void http_server(nanobind::module_& module);
void infer_messages(nanobind::module_& module);
void json_lines(nanobind::module_& module);

}  // namespace persia::bind
