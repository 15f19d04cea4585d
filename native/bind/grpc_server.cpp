#include "grpc/server.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "batch.hpp"
#include "bind.hpp"
#include "grpc/call_queue.hpp"
#include "grpc/constant_method.hpp"
#include "release.hpp"
#include "serving/health.hpp"
#include "times.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using grpc::CallQueue;
using grpc::Clock;
using grpc::Method;
using grpc::OutgoingMessage;
using grpc::Server;
using grpc::ServerLimits;

// The bytes of a message, without a copy, through the buffer protocol.
struct PyMessage {
    grpc::ReceivedMessage message;
};

int get_message_buffer(PyObject* self, Py_buffer* view, int flags) {
    const auto bytes = nb::inst_ptr<PyMessage>(self)->message.bytes();
    return PyBuffer_FillInfo(view, self, const_cast<std::byte*>(bytes.data()), static_cast<Py_ssize_t>(bytes.size()), 1, flags);
}

PyType_Slot message_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_message_buffer)}, {0, nullptr}};

// A call that Python answers.
class PyCall {
  public:
    explicit PyCall(CallQueue::Item item) : item_(std::move(item)) {}

    nb::object take_message() {
        if (!item_.message) return nb::none();
        auto message = std::make_unique<PyMessage>(std::move(*item_.message));
        item_.message.emplace();
        return nb::cast(std::move(message));
    }

    grpc::ServerCall& call() const { return *item_.call; }
    const grpc::CallInfo& info() const { return item_.call->info(); }
    void come_again(std::size_t below) { item_.come_again(below); }

  private:
    CallQueue::Item item_;
};

nb::dict metadata_of(const PyCall& self) {
    nb::dict metadata;
    for (const auto& [key, value] : self.info().metadata) {
        if (grpc::is_binary(key)) {
            metadata[key.c_str()] = nb::bytes(value.data(), value.size());
        } else {
            metadata[key.c_str()] = value;
        }
    }
    return metadata;
}

// An ASCII value is a str, one of a key that ends in `-bin` is bytes.
void add_trailer(PyCall& self, std::string key, nb::handle value) {
    const auto is_of_keys = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    };
    const auto is_printable = [](char c) { return c >= ' ' && c <= '~'; };
    if (key.empty() || !std::ranges::all_of(key, is_of_keys) || grpc::is_reserved(key)) {
        throw InvalidInput("expected a key of metadata, of a-z, 0-9, '-', '_', '.', that gRPC does not use itself, got " + key);
    }
    std::string bytes;
    if (grpc::is_binary(key)) {
        const Buffer buffer(value, PyBUF_SIMPLE);
        bytes.assign(reinterpret_cast<const char*>(buffer.bytes().data()), buffer.bytes().size());
    } else {
        bytes = nb::cast<std::string>(value);
        if (!std::ranges::all_of(bytes, is_printable)) {
            throw InvalidInput("expected printable ASCII as the value of " + key + ", got other bytes: end its key in -bin");
        }
    }
    const Released released;
    self.call().add_trailer(std::move(key), std::move(bytes));
}

std::optional<double> seconds_left(const PyCall& self) {
    const auto deadline = self.info().deadline;
    if (!deadline) return std::nullopt;
    return std::chrono::duration<double>(*deadline - Clock::now()).count();
}

// Copied: Python's memory may change, and may only be let go with the interpreter's lock.
std::optional<OutgoingMessage> message_of(PyCall& self, nb::handle buffer) {
    const Buffer bytes(buffer, PyBUF_SIMPLE);
    struct Held {
        grpc::Reservation reservation;
        std::string bytes;
    };
    const auto held = std::make_shared<Held>();
    if (!self.call().reserve(held->reservation, bytes.bytes().size())) return std::nullopt;
    held->bytes.assign(reinterpret_cast<const char*>(bytes.bytes().data()), bytes.bytes().size());
    OutgoingMessage message;
    message.append(std::as_bytes(std::span(held->bytes)), held);
    return message;
}

constexpr char kNoMemory[] = "expected memory for an answer, got none: too many requests and answers are under way";

void send(PyCall& self, nb::handle buffer, bool last) {
    auto message = message_of(self, buffer);
    const Released released;
    if (!message) {
        self.call().finish({grpc::Code::resource_exhausted, kNoMemory});
    } else if (last) {
        self.call().reply(std::move(*message));
    } else {
        self.call().send(std::move(*message));
    }
}

void finish(PyCall& self, int code, std::string message) {
    const Released released;
    self.call().finish({static_cast<grpc::Code>(code), std::move(message)});
}

nb::object next_call(CallQueue& self, double seconds) {
    std::optional<CallQueue::Item> item = [&] {
        const Released released;
        return self.next(seconds);
    }();
    if (!item) return nb::none();
    return nb::cast(std::make_unique<PyCall>(std::move(*item)));
}

void make_server(Server* self, std::size_t workers, std::size_t max_connections, std::size_t max_memory_bytes,
                 std::size_t max_message_bytes, std::shared_ptr<grpc::Guard> guard, std::shared_ptr<grpc::TlsContext> tls) {
    ServerLimits limits;
    limits.workers = workers;
    limits.max_connections = max_connections;
    limits.max_memory_bytes = max_memory_bytes;
    limits.max_request_bytes = limits.max_answer_bytes = max_message_bytes;
    new (self) Server(limits, std::move(guard), std::move(tls));
}

}  // namespace

void grpc_server(nb::module_& module) {
    nb::class_<Method>(module, "Method");
    nb::class_<grpc::CallObserver>(module, "CallObserver");
    module.def(
        "constant_method",
        [](const nb::bytes& answer) -> std::shared_ptr<Method> {
            return std::make_shared<grpc::ConstantMethod>(std::string(answer.c_str(), answer.size()));
        },
        nb::arg("answer"));
    nb::class_<PyMessage>(module, "Message", nb::type_slots(message_slots)).def("__len__", [](const PyMessage& self) {
        return self.message.size();
    });
    nb::class_<PyCall>(module, "ServerCall")
        .def("take_message", &PyCall::take_message)
        .def_prop_ro("path", [](const PyCall& self) { return self.info().path; })
        .def_prop_ro("peer", [](const PyCall& self) { return self.info().peer; })
        .def_prop_ro("identity", [](const PyCall& self) { return self.info().identity; })
        .def_prop_ro("metadata", metadata_of)
        .def_prop_ro("seconds_left", seconds_left)
        .def_prop_ro("has_ended", [](const PyCall& self) { return self.call().has_ended(); })
        .def_prop_ro("unsent", [](const PyCall& self) { return self.call().unsent(); })
        .def(
            "send", [](PyCall& self, nb::handle message) { send(self, message, false); }, nb::arg("message"))
        .def(
            "reply", [](PyCall& self, nb::handle message) { send(self, message, true); }, nb::arg("message"))
        .def("add_trailer", add_trailer, nb::arg("key"), nb::arg("value"))
        .def("finish", finish, nb::arg("code"), nb::arg("message") = std::string())
        .def("come_again", &PyCall::come_again, nb::arg("below"), nb::call_guard<Released>())
        .def_prop_ro("number", [](const PyCall& self) { return reinterpret_cast<std::uintptr_t>(&self.call()); });
    nb::class_<CallQueue>(module, "CallQueue")
        .def(nb::new_([](std::size_t most) { return std::make_shared<CallQueue>(most); }), nb::arg("most") = 1024)
        .def("next", next_call, nb::arg("seconds"))
        .def("close", &CallQueue::close)
        .def_prop_ro("closed", &CallQueue::closed)
        .def("method", &CallQueue::method, nb::arg("takes_stream") = false);
    nb::class_<Server>(module, "Server")
        .def("__init__", make_server, nb::kw_only(), nb::arg("workers") = 0, nb::arg("max_connections") = 16384,
             nb::arg("max_memory_bytes") = std::size_t{2} << 30, nb::arg("max_message_bytes") = grpc::kMaxMessageBytes,
             nb::arg("guard").none() = nb::none(), nb::arg("tls").none() = nb::none())
        .def("add", &Server::add, nb::arg("path"), nb::arg("method"))
        .def("set_observer", &Server::set_observer, nb::arg("observer"))
        .def("listen", &Server::listen, nb::arg("address"))
        .def("start", &Server::start)
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
                 return std::pair(told.count, std::move(told.last));
             })
        .def("counts", [](const Server& self) {
            const Server::Counts counts = self.counts();
            nb::dict all;
            all["connections"] = counts.connections;
            all["calls"] = counts.calls;
            all["queued"] = counts.queued;
            all["memory_bytes"] = counts.memory_bytes;
            all["accepted"] = counts.accepted;
            all["finished"] = counts.finished;
            all["refused"] = counts.refused;
            all["expired"] = counts.expired;
            all["cancelled"] = counts.cancelled;
            all["evicted"] = counts.evicted;
            return all;
        });
    nb::class_<serving::Health>(module, "Health")
        .def(nb::init<const std::vector<std::string>&>(), nb::arg("services"))
        .def("add_to", &serving::Health::add_to, nb::arg("server"))
        .def("set_serving", &serving::Health::set_serving, nb::arg("serving"))
        .def("leave", &serving::Health::leave);
}

}  // namespace persia::bind
