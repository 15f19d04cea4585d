// What is said to a client: the whole of an answer, or part after part.
#include <algorithm>
#include <utility>

#include "http/server_connection.hpp"

namespace persia::http {

namespace {

std::string hex(std::size_t number) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    do {
        text += kDigits[number & 15];
        number >>= 4;
    } while (number != 0);
    std::reverse(text.begin(), text.end());
    return text;
}

grpc::OutgoingMessage text_message(std::string text) { return grpc::OutgoingMessage(std::move(text)); }

}  // namespace

template <class Put>
void ServerConnection::Answer::with_connection(bool ends, Put put) {
    const auto connection = connection_.lock();
    if (!connection) return;
    {
        const std::lock_guard lock(connection->mutex_);
        if (ended_ || connection->answer_.get() != this) return;
        put(*connection);
        if (ends) {
            ended_ = true;
            connection->finish_answer();
        }
    }
    connection->serve(0);
}

void ServerConnection::Answer::respond(Response response) {
    with_connection(true, [&](ServerConnection& connection) {
        connection.put_head(response, Length::known);
        if (sends_body(response)) connection.put(std::move(response.body));
    });
}

void ServerConnection::Answer::begin(Response head) {
    with_connection(false, [&](ServerConnection& connection) {
        parts_have_place_ = sends_body(head);
        connection.put_head(head, request_.head.is_http_1_0 ? Length::until_the_end : Length::in_chunks);
    });
}

void ServerConnection::Answer::send(grpc::OutgoingMessage part) {
    if (part.size() == 0) return;
    with_connection(false, [&](ServerConnection& connection) {
        if (!parts_have_place_) return;
        if (request_.head.is_http_1_0) return connection.put(std::move(part));
        connection.put(text_message(hex(part.size()) + "\r\n"));
        connection.put(std::move(part));
        connection.put(text_message("\r\n"));
    });
}

void ServerConnection::Answer::end() {
    with_connection(true, [&](ServerConnection& connection) {
        if (parts_have_place_ && !request_.head.is_http_1_0) connection.put(text_message("0\r\n\r\n"));
    });
}

bool ServerConnection::Answer::sends_body(const Response& response) const {
    return request_.head.method != "HEAD" && has_body(response.status);
}

}  // namespace persia::http
