#include "serving/health.hpp"

#include <optional>
#include <unordered_map>
#include <utility>

#include "base/error.hpp"
#include "wire/protobuf.hpp"

namespace persia::serving {

namespace {

using grpc::Code;
using grpc::Method;
using grpc::OutgoingMessage;
using grpc::ReceivedMessage;
using grpc::ServerCallPtr;
using wire::tag_of;
using wire::WireType;

constexpr char kService[] = "/grpc.health.v1.Health/";
constexpr std::uint32_t kServiceField = 1, kStatusField = 1;  // of a request, and of a response
constexpr std::uint32_t kStatusesField = 1;                   // of the response to List
constexpr std::uint32_t kEntryKeyField = 1, kEntryValueField = 2;

enum class Serving : std::uint64_t { yes = 1, no = 2, unknown_service = 3 };

// Throws DecodeError.
std::string service_of(const ReceivedMessage& message) {
    wire::FieldReader fields(message.bytes());
    std::string service;
    while (fields.next()) {
        if (fields.tag() != tag_of(kServiceField, WireType::bytes)) continue;
        service.assign(reinterpret_cast<const char*>(fields.bytes().data()), fields.bytes().size());
    }
    return service;
}

OutgoingMessage response(Serving serving) {
    wire::MessageWriter message;
    message.varint(kStatusField, static_cast<std::uint64_t>(serving));
    return message.take();
}

}  // namespace

class Health::State {
  public:
    explicit State(const std::vector<std::string>& services) {
        statuses_.emplace("", Serving::no);
        for (const std::string& service : services) statuses_.emplace(service, Serving::no);
    }

    std::optional<Serving> of(const std::string& service) const {
        const std::lock_guard lock(mutex_);
        const auto found = statuses_.find(service);
        if (found == statuses_.end()) return std::nullopt;
        return found->second;
    }

    std::map<std::string, Serving> all() const {
        const std::lock_guard lock(mutex_);
        return statuses_;
    }

    void set(bool serving, bool for_ever) {
        const std::lock_guard lock(mutex_);
        if (left_) return;
        left_ = for_ever;
        const Serving now = serving ? Serving::yes : Serving::no;
        for (auto& [service, status] : statuses_) {
            if (std::exchange(status, now) == now) continue;
            for (const auto& [call, watched] : watchers_) {
                if (watched == service) call->send(response(now));
            }
        }
    }

    void watch(const ServerCallPtr& call, const std::string& service) {
        const std::lock_guard lock(mutex_);
        const auto found = statuses_.find(service);
        call->send(response(found == statuses_.end() ? Serving::unknown_service : found->second));
        if (!call->has_ended()) watchers_.insert_or_assign(call, service);
    }

    void forget(const ServerCallPtr& call) {
        const std::lock_guard lock(mutex_);
        watchers_.erase(call);
    }

  private:
    mutable std::mutex mutex_;  // over what follows
    std::map<std::string, Serving> statuses_;
    std::unordered_map<ServerCallPtr, std::string> watchers_;
    bool left_ = false;
};

namespace {

// What each method answers with. Bytes that are no request end the call.
template <class Answer>
void with_service(const ServerCallPtr& call, const ReceivedMessage& message, Answer answer) {
    try {
        answer(service_of(message));
    } catch (const Error& error) {
        call->finish({Code::invalid_argument, error.what()});
    }
}

class Check final : public Method {
  public:
    explicit Check(std::shared_ptr<const Health::State> state) : state_(std::move(state)) {}

    void on_message(const ServerCallPtr& call, ReceivedMessage message) override {
        with_service(call, message, [&](const std::string& service) {
            if (const auto serving = state_->of(service)) return call->reply(response(*serving));
            call->finish({Code::not_found, "expected a service of this server, got " + service});
        });
    }

  private:
    const std::shared_ptr<const Health::State> state_;
};

class Watch final : public Method {
  public:
    explicit Watch(std::shared_ptr<Health::State> state) : state_(std::move(state)) {}

    void on_message(const ServerCallPtr& call, ReceivedMessage message) override {
        with_service(call, message, [&](const std::string& service) { state_->watch(call, service); });
    }
    bool watches_end() const override { return true; }
    void on_call_end(const ServerCallPtr& call) override { state_->forget(call); }

  private:
    const std::shared_ptr<Health::State> state_;
};

class List final : public Method {
  public:
    explicit List(std::shared_ptr<const Health::State> state) : state_(std::move(state)) {}

    void on_message(const ServerCallPtr& call, ReceivedMessage /*message*/) override {
        wire::MessageWriter message;
        for (const auto& [service, serving] : state_->all()) {
            wire::MessageWriter entry;
            entry.bytes(kEntryKeyField, std::as_bytes(std::span(service)));
            entry.bytes(kEntryValueField, bytes_of(response(serving)));
            message.bytes(kStatusesField, bytes_of(entry.take()));
        }
        call->reply(message.take());
    }

  private:
    static std::vector<std::byte> bytes_of(const OutgoingMessage& message) {
        std::vector<std::byte> bytes;
        for (const auto& piece : message.pieces()) bytes.insert(bytes.end(), piece.bytes.begin(), piece.bytes.end());
        return bytes;
    }

    const std::shared_ptr<const Health::State> state_;
};

}  // namespace

Health::Health(const std::vector<std::string>& services) : state_(std::make_shared<State>(services)) {}

Health::~Health() = default;

void Health::add_to(grpc::Server& server) {
    server.add(std::string(kService) + "Check", std::make_shared<Check>(state_));
    server.add(std::string(kService) + "Watch", std::make_shared<Watch>(state_));
    server.add(std::string(kService) + "List", std::make_shared<List>(state_));
}

void Health::set_serving(bool serving) { state_->set(serving, false); }

void Health::leave() { state_->set(false, true); }

}  // namespace persia::serving
