#include "bind.hpp"

NB_MODULE(_core, module) {
    module.doc() = "The native core of persia-serve. Use the modules of persia.* rather than this one.";
    // Threads that live as long as the process hold objects at its end: they would be called leaks.
    nanobind::set_leak_warnings(false);
    persia::bind::errors(module);
    persia::bind::signs(module);
    persia::bind::batch(module);
    persia::bind::files(module);
    persia::bind::filling(module);
    persia::bind::table(module);
    persia::bind::checkpoint_diff(module);
    persia::bind::slots(module);
    persia::bind::routing(module);
    nanobind::module_ security = module.def_submodule("security", "TLS and tokens. Use persia.security rather than this.");
    persia::bind::security(security);  // before those who are given what it makes
    persia::bind::certificates(security);
    nanobind::module_ tracing =
        module.def_submodule("tracing", "Spans of what the core does. Use persia.core_spans rather than this.");
    persia::bind::tracing(tracing);
    nanobind::module_ net = module.def_submodule(
        "net", "gRPC, and those who are asked over it. Use persia.rpc and persia.routing rather than this.");
    persia::bind::grpc_server(net);
    persia::bind::serving_methods(net);
    persia::bind::replicas(net);
    persia::bind::routers(net);
    nanobind::module_ inference =
        module.def_submodule("inference", "Models and their workers. Use model_server rather than this.");
    persia::bind::inference_models(inference);
    persia::bind::inference_answers_and_keys(inference);
    persia::bind::worker_channel(inference);
    persia::bind::http_server(inference);
    persia::bind::infer_messages(inference);
    persia::bind::row_scan(module);
    persia::bind::row_digest(module);
    persia::bind::growing_files(module);
    persia::bind::json_lines(module);
}
