// The worker's end of the socket to its model server: batches come, replies go. The protocol is in inference/frame_numbers.hpp.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "bind.hpp"
#include "inference/frame_numbers.hpp"
#include "release.hpp"
#include "texts.hpp"
#include "worker_reply.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

constexpr std::size_t kReadBytes = 64 << 10;

// The other end has closed.
struct Closed {};

using inference::kMaxTextBytes;
using inference::kNumberBytes;

class WorkerChannel {
  public:
    explicit WorkerChannel(int socket) : socket_(socket), buffer_(kReadBytes) {}

    // The command: `L` or `I`; nothing: the server has closed.
    nb::object command() {
        try {
            need(1);
        } catch (const Closed&) {
            return nb::none();
        }
        return nb::str(reinterpret_cast<const char*>(buffer_.data() + from_++), 1);
    }

    std::int32_t number() {
        need(kNumberBytes);
        const std::int32_t number = inference::number_at(buffer_.data() + from_);
        from_ += kNumberBytes;
        return number;
    }

    // None: the end of a list came in its place.
    nb::object text() {
        const std::int32_t length = number();
        return length < 0 ? nb::none() : nb::object(text_of(length));
    }

    std::uint8_t byte() {
        need(1);
        return std::to_integer<std::uint8_t>(buffer_[from_++]);
    }

    // Requests: (id, headers, [(name, content type, value)]), values as bytearray.
    nb::list batch() {
        nb::list requests;
        for (std::int32_t length = number(); length >= 0; length = number()) {
            nb::str id = text_of(length);
            nb::dict headers;
            for (length = number(); length >= 0; length = number()) {
                nb::str name = text_of(length);
                headers[name] = text_of(number());
            }
            nb::list inputs;
            for (length = number(); length >= 0; length = number()) {
                nb::str name = text_of(length);
                nb::str content_type = text_of(number());
                inputs.append(nb::make_tuple(name, content_type, value_of(number())));
            }
            requests.append(nb::make_tuple(id, headers, inputs));
        }
        return requests;
    }

    // Returns why the server could not read some of it: of a prediction, which is refused, or of the message.
    std::vector<std::string> reply(std::int32_t code, std::string message, const nb::list& predictions) {
        std::vector<std::string> refused;
        if (auto why = why_no_words(message)) message = refused.emplace_back(std::move(*why));
        WorkerReply reply(code, message);
        for (nb::handle item : predictions) {
            const auto prediction = nb::cast<nb::tuple>(item);
            try {
                reply.put(prediction);
            } catch (const TooLarge& error) {
                reply.put_refusal(prediction[0], refused.emplace_back(error.what()));
            }
        }
        send_all(reply.end());
        return refused;
    }

  private:
    void need(std::size_t bytes) {
        if (until_ - from_ >= bytes) return;
        std::memmove(buffer_.data(), buffer_.data() + from_, until_ - from_);
        until_ -= from_;
        from_ = 0;
        if (buffer_.size() < bytes) buffer_.resize(bytes);
        while (until_ < bytes) until_ += receive(buffer_.data() + until_, buffer_.size() - until_);
    }

    std::size_t receive(void* to, std::size_t most) const {
        for (;;) {
            ssize_t got = 0;
            {
                const Released released;
                got = recv(socket_, to, most, 0);
            }
            if (got > 0) return static_cast<std::size_t>(got);
            if (got == 0) throw Closed();
            if (errno != EINTR)
                throw IoError("", errno, "the socket to the model server: " + std::string(std::strerror(errno)));
            if (PyErr_CheckSignals() != 0) throw nb::python_error();
        }
    }

    nb::str text_of(std::int32_t length) {
        if (length < 0 || length > kMaxTextBytes) throw DecodeError("the length of a text", std::to_string(length), 0);
        const auto size = static_cast<std::size_t>(length);
        need(size);
        nb::str text = bind::text_of({reinterpret_cast<const char*>(buffer_.data() + from_), size});
        from_ += size;
        return text;
    }

    nb::object value_of(std::int32_t length) {
        if (length < 0) throw DecodeError("the length of a value", std::to_string(length), 0);
        const auto size = static_cast<std::size_t>(length);
        auto value = nb::steal(PyByteArray_FromStringAndSize(nullptr, length));
        if (!value.is_valid()) throw nb::python_error();
        auto* bytes = reinterpret_cast<std::uint8_t*>(PyByteArray_AS_STRING(value.ptr()));
        std::size_t got = std::min(size, until_ - from_);
        std::memcpy(bytes, buffer_.data() + from_, got);
        from_ += got;
        while (got < size) got += receive(bytes + got, size - got);
        return value;
    }

    void send_all(std::vector<iovec> from) const {
        std::size_t first = 0;
        while (first < from.size()) {
            msghdr message{};
            message.msg_iov = from.data() + first;
            message.msg_iovlen = std::min<std::size_t>(from.size() - first, 64);
            ssize_t sent = 0;
            {
                const Released released;
                sent = sendmsg(socket_, &message, MSG_NOSIGNAL);
            }
            if (sent < 0) {
                if (errno == EINTR) continue;
                throw IoError("", errno, "the socket to the model server: " + std::string(std::strerror(errno)));
            }
            auto left = static_cast<std::size_t>(sent);
            while (first < from.size() && left >= from[first].iov_len) left -= from[first++].iov_len;
            if (first == from.size()) break;
            from[first].iov_base = static_cast<char*>(from[first].iov_base) + left;
            from[first].iov_len -= left;
        }
    }

    const int socket_;
    std::vector<std::byte> buffer_;
    std::size_t from_ = 0, until_ = 0;
};

}  // namespace

void worker_channel(nb::module_& module) {
    nb::register_exception_translator([](const std::exception_ptr& error, void*) {
        try {
            std::rethrow_exception(error);
        } catch (const Closed&) {
            PyErr_SetString(PyExc_EOFError, "the model server has closed the connection");
        }
    });
    nb::class_<WorkerChannel>(module, "WorkerChannel")
        .def(nb::init<int>(), nb::arg("socket"))
        .def("command", &WorkerChannel::command)
        .def("number", &WorkerChannel::number)
        .def("byte", &WorkerChannel::byte)
        .def("text", &WorkerChannel::text)
        .def("batch", &WorkerChannel::batch)
        .def("reply", &WorkerChannel::reply, nb::arg("code"), nb::arg("message"), nb::arg("predictions"));
}

}  // namespace persia::bind
