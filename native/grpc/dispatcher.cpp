#include "grpc/dispatcher.hpp"

#include <exception>
#include <memory>
#include <new>
#include <utility>

#include "base/problem_lines.hpp"

namespace persia::grpc {

namespace {

// Work of fewer bytes than this does not wait for a turn: it is done sooner than somebody else is woken.
constexpr std::size_t kQuickBytes = 192 << 10;

std::size_t work_of(const CallEvent& event) {
    const bool is_stream = event.call->method().takes_stream();
    return event.kind == CallEvent::Kind::message && !is_stream ? event.call->method().work_of(event.message) : 0;
}

// What a method throws ends its call, and nothing else.
template <class Work>
void guarded(const std::shared_ptr<ConnectedCall>& call, Work work) {
    try {
        work();
    } catch (const std::bad_alloc&) {
        call->finish({Code::resource_exhausted, "the system has no memory for the call"}, {});
    } catch (const std::exception& error) {
        write_problem("internal error of " + call->info().path + ": " + error.what());
        call->finish({Code::internal, "internal error: see the server's log"}, {});
    } catch (...) {
        write_problem("internal error of " + call->info().path + ": something that is no std::exception");
        call->finish({Code::internal, "internal error: see the server's log"}, {});
    }
}

void hand_out_stream(const std::shared_ptr<ConnectedCall>& call) {
    while (auto event = call->next()) {
        guarded(call, [&] {
            if (event->kind == CallEvent::Kind::call_end) return call->method().on_call_end(call);
            if (call->has_ended()) return;
            if (event->kind == CallEvent::Kind::messages_end) return call->method().on_messages_end(call);
            call->method().on_message(call, std::move(event->message));
        });
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
            before_long_work_();
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
    if (rest.empty()) return;
    before_long_work_();
    work_.submit(std::move(rest.back()));
}

void Dispatcher::tell(CallEvent event) {
    const std::shared_ptr<ConnectedCall> call = event.call;
    if (call->method().takes_stream()) {
        if (call->begin_to_hand_out()) hand_out_stream(call);
    } else {
        guarded(call, [&] {
            if (event.kind == CallEvent::Kind::call_end) return call->method().on_call_end(call);
            if (!call->has_ended()) call->method().on_message(call, std::move(event.message));
        });
    }
    watch_deadline_(call);
}

Work Dispatcher::work_for(CallEvent event, std::size_t bytes) {
    const std::shared_ptr<ConnectedCall> call = event.call;
    watch_deadline_(call);
    auto message = std::make_shared<ReceivedMessage>(std::move(event.message));
    return {call, bytes, [call, message] { guarded(call, [&] { call->method().on_message(call, std::move(*message)); }); }};
}

}  // namespace persia::grpc
