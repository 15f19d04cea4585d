// A request over HTTP on its way to the workers of a model.
#pragma once

#include <string>
#include <vector>

#include "http/exchange.hpp"
#include "inference/models.hpp"
#include "inference/rest_responder.hpp"
#include "net/reactor.hpp"

namespace persia::inference {

// What a path asks for: of which model and version, and what its handler is told besides the headers of the request.
struct Asked {
    std::string model, version;  // version: empty: the caller names none
    Headers headers;
};

// Submits the inputs of a request with the options in its headers. A name that is no text, a model that is not served, and
// options that nobody understands are answered at once, as the protocol answers them.
void submit_exchange(const Models& models, const http::ExchangePtr& exchange, Asked asked, std::vector<Input> inputs,
                     const RestManners& manners, net::Reactor& reactor);

}  // namespace persia::inference
