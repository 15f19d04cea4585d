// The Open Inference Protocol over HTTP, as far as handlers answer it: `POST /v2/models/NAME[/versions/VERSION]/infer`. Tensors
// go to a worker as they came, and come back as it wrote them. The other paths below /v2 are the server's Python's.
#pragma once

#include <optional>
#include <string>

#include "http/exchange.hpp"
#include "inference/models.hpp"

namespace persia::inference {

// The header of a worker's request that says in which form of the protocol it came: `rest` or `grpc`. No client can send one
// of this name.
constexpr const char* kOpenInferenceHeader = ":open-inference";

struct InferRoute {
    std::string model, version;  // version: empty: the default one
    bool explain = false;
};

// nullopt: it is something else.
std::optional<InferRoute> open_inference_route(const http::Request& request);

void infer(const Models& models, const http::ExchangePtr& exchange, const InferRoute& route, net::Reactor& reactor);

}  // namespace persia::inference
