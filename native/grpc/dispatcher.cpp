#include "grpc/dispatcher.hpp"

#include <memory>
#include <utility>

namespace persia::grpc {

namespace {

// Work of fewer bytes than this does not wait for a turn: it is done sooner than somebody else is woken.
constexpr std::size_t kQuickBytes = 192 << 10;

std::size_t work_of(const CallEvent& event) {
    const bool is_stream = event.call->method().takes_stream();
    return event.kind == CallEvent::Kind::message && !is_stream ? event.call->method().work_of(event.message) : 0;
}

void hand_out_stream(const std::shared_ptr<ConnectedCall>& call) {
    while (auto event = call->next()) {
        switch (event->kind) {
            case CallEvent::Kind::message:
                if (!call->has_ended()) call->method().on_message(call, std::move(event->message));
                break;
            case CallEvent::Kind::messages_end:
                if (!call->has_ended()) call->method().on_messages_end(call);
                break;
            case CallEvent::Kind::call_end:
                call->method().on_call_end(call);
        }
    }
}

}  // namespace

void Dispatcher::give_out(ServerConnection& connection, std::vector<CallEvent> events) {
    if (events.empty()) return;
    if (events.size() == 1) {
        CallEvent& event = events.front();
        if (const std::size_t bytes = work_of(event); bytes < kQuickBytes) {
            tell(std::move(event));
        } else {
            work_.submit(work_for(std::move(event), bytes));
        }
        return;
    }
    // What is quick is answered here, and sent at once. What is more goes to all processors.
    std::vector<Work> rest;
    {
        const Cork cork(connection);
        std::size_t here = 0;
        for (CallEvent& event : events) {
            const std::size_t bytes = work_of(event);
            if (bytes == 0 || here + bytes < kQuickBytes) {
                here += bytes;
                tell(std::move(event));
            } else {
                rest.push_back(work_for(std::move(event), bytes));
            }
        }
    }
    for (std::size_t i = 0; i + 1 < rest.size(); ++i) {
        if (work_.put(std::move(rest[i]))) call_for_help_();
    }
    if (!rest.empty()) work_.submit(std::move(rest.back()));
}

void Dispatcher::tell(CallEvent event) {
    const std::shared_ptr<ConnectedCall> call = event.call;
    Method& method = call->method();
    if (method.takes_stream()) {
        if (call->begin_to_hand_out()) hand_out_stream(call);
    } else if (event.kind == CallEvent::Kind::call_end) {
        method.on_call_end(call);
    } else if (!call->has_ended()) {
        method.on_message(call, std::move(event.message));
    }
    watch_deadline_(call);
}

Work Dispatcher::work_for(CallEvent event, std::size_t bytes) {
    const std::shared_ptr<ConnectedCall> call = event.call;
    watch_deadline_(call);
    auto message = std::make_shared<ReceivedMessage>(std::move(event.message));
    return {call, bytes, [call, message] { call->method().on_message(call, std::move(*message)); }};
}

}  // namespace persia::grpc
