// An HTTP/1.1 server of a model server, and the requests that Python answers.
#include "http/server.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include "batch.hpp"
#include "bind.hpp"
#include "inference/rest_service.hpp"
#include "release.hpp"
#include "texts.hpp"
#include "times.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using http::ExchangePtr;
using http::ExchangeQueue;
using http::Server;
using inference::AnswerObserver;
using inference::Models;
using inference::RestService;

struct PyExchange {
    ExchangePtr exchange;
    const http::Request& request() const { return exchange->request(); }
};

void respond(PyExchange& self, int status, const http::Headers& headers, nb::handle body, bool close) {
    const Buffer bytes(body, PyBUF_SIMPLE);
    http::Response response{
        status, "", headers,
        grpc::OutgoingMessage(std::string(reinterpret_cast<const char*>(bytes.bytes().data()), bytes.bytes().size())), close};
    const Released released;
    self.exchange->respond(std::move(response));
}

nb::object next_exchange(ExchangeQueue& self, double seconds) {
    ExchangePtr exchange;
    {
        const Released released;
        exchange = self.next(milliseconds_of(seconds));
    }
    if (!exchange) return nb::none();
    return nb::cast(PyExchange{std::move(exchange)});
}

}  // namespace

void http_server(nb::module_& module) {
    nb::class_<PyExchange>(module, "Exchange")
        .def_prop_ro("method", [](const PyExchange& self) { return self.request().head.method; })
        .def_prop_ro("path", [](const PyExchange& self) { return self.request().target.path; })
        .def_prop_ro("segments", [](const PyExchange& self) { return self.request().target.segments; })
        .def_prop_ro("query", [](const PyExchange& self) { return self.request().target.query; })
        .def_prop_ro("headers",
                     [](const PyExchange& self) {
                         nb::list headers;
                         for (const auto& [name, value] : self.request().head.headers) {
                             headers.append(nb::make_tuple(text_of(name), text_of(value)));
                         }
                         return headers;
                     })
        .def_prop_ro("peer", [](const PyExchange& self) { return self.request().peer; })
        .def_prop_ro("identity", [](const PyExchange& self) { return self.request().identity; })
        .def_prop_ro("body",
                     [](const PyExchange& self) {
                         const std::string_view text = self.request().text();
                         return nb::bytes(text.data(), text.size());
                     })
        .def_prop_ro("has_ended", [](const PyExchange& self) { return self.exchange->has_ended(); })
        .def("respond", respond, nb::arg("status"), nb::arg("headers"), nb::arg("body"), nb::arg("close") = false);
    nb::class_<ExchangeQueue>(module, "ExchangeQueue")
        .def(nb::new_([](std::size_t most) { return std::make_shared<ExchangeQueue>(most); }), nb::arg("most") = 1024)
        .def("next", next_exchange, nb::arg("seconds"))
        .def("close", &ExchangeQueue::close)
        .def_prop_ro("closed", &ExchangeQueue::closed);
    nb::class_<Server>(module, "HttpServer")
        .def(
            "__init__",
            [](Server* self, net::Reactor& reactor, std::shared_ptr<ExchangeQueue> others, std::shared_ptr<Models> models,
               std::shared_ptr<grpc::Guard> guard, std::map<std::string, std::shared_ptr<grpc::Guard>> guards_of_paths,
               std::shared_ptr<AnswerObserver> answers, std::tuple<std::string, std::string, std::string> cors,
               std::size_t max_body_bytes, std::size_t max_connections, std::shared_ptr<grpc::TlsContext> tls) {
                http::ServerLimits limits;
                limits.max_body_bytes = max_body_bytes;
                limits.max_memory_bytes = std::max(limits.max_memory_bytes, max_body_bytes);  // for one request at least
                limits.max_connections = max_connections;
                inference::RestAccess access{std::move(guard), std::move(guards_of_paths),
                                             std::make_from_tuple<inference::Cors>(std::move(cors))};
                inference::RestParts parts{std::move(models), std::move(others), std::move(access), std::move(answers)};
                new (self) Server(limits, reactor, std::make_shared<RestService>(std::move(parts), reactor), std::move(tls));
            },
            nb::arg("reactor"), nb::arg("others"), nb::kw_only(), nb::arg("models").none() = nb::none(),
            nb::arg("guard").none() = nb::none(),
            nb::arg("guards_of_paths") = std::map<std::string, std::shared_ptr<grpc::Guard>>(),
            nb::arg("answers").none() = nb::none(), nb::arg("cors") = std::tuple<std::string, std::string, std::string>(),
            nb::arg("max_body_bytes") = 6'553'500, nb::arg("max_connections") = 16'384, nb::arg("tls").none() = nb::none(),
            nb::keep_alive<1, 2>())
        .def("listen", &Server::listen, nb::arg("address"))
        .def(
            "stop",
            [](Server& self, double seconds) {
                const Released released;
                self.stop(milliseconds_of(seconds));
            },
            nb::arg("seconds"))
        .def("take_refused_clients",
             [](Server& self) {
                 auto told = self.take_refused_clients();
                 return std::pair(std::move(told.first), told.count);
             })
        .def_prop_ro("connections", &Server::connections);
}

}  // namespace persia::bind
