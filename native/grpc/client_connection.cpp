#include "grpc/client_connection.hpp"

#include <sys/socket.h>

#include <new>
#include <utility>

#include "grpc/answer_headers.hpp"

namespace persia::grpc {

namespace {

constexpr std::size_t kReadAtOnce = 1 << 20;
// Between two calls little is to be expected: where more is left of one that was given up, a new connection costs less.
constexpr std::size_t kReadIdle = 256 << 10;

Status no_answer(const std::string& why) { return {Code::unavailable, "an invalid answer: " + why}; }

}  // namespace

// The HTTP/2 of a connection, and the one call that is under way.
class ClientConnection::Session final : public Http2 {
  public:
    Session(std::unique_ptr<Transport> transport, const std::string& authority, const ClientLimits& limits, bool encrypted)
        : Http2(Side::client, std::move(transport), limits.http2), limits_(limits) {
        headers_ = {{":method", "POST"},
                    {":scheme", encrypted ? "https" : "http"},
                    {":path", ""},
                    {":authority", authority},
                    {"te", "trailers"},
                    {"content-type", "application/grpc"},
                    {"user-agent", "persia-serve"}};
    }

    void begin(CallRequest request) {
        began_ = Clock::now();
        state_ = State::pending;
        reply_ = Reply();
        got_headers_ = got_message_ = false;
        first_ = last_ = AnswerHeaders();
        reader_.emplace(limits_.max_answer_bytes, request.memory.budget());
        reader_->use(std::move(request.memory));
        stream_ = submit_request(headers_of(request));
        if (stream_ < 0) {
            reply_.unprocessed = true;
            return lose("it takes no more calls");
        }
        submit_message(stream_, request.message);
        submit_end(stream_);
        if (!flush()) lose(failure());
    }

    void advance() {
        if (state_ != State::pending) return;
        if (wants_to_write() && !flush()) return lose(failure());
        // What is to be sent then: acknowledgements, or a larger window, without which the answer does not go on.
        if (!read(kReadAtOnce) || !flush()) lose(failure());
    }

    Reply take() {
        if (state_ == State::complete) state_ = State::idle;
        return std::exchange(reply_, Reply());
    }

    void cancel() {
        if (state_ == State::failed) return;
        if (state_ == State::pending) {
            forget();
            reader_.reset();  // whatever it holds
            submit_ping();
            ++pongs_due_;
            flush();
        }
        state_ = failed() ? State::failed : State::idle;
        reply_ = Reply();
    }

    bool is_usable() {
        if (state_ != State::idle || leaving_ || failed()) return false;
        return read(kReadIdle) && flush() && !leaving_ && pongs_due_ == 0 && Http2::unsent() == 0;
    }

    // The call ends with this, whatever may have come; the connection is of no more use.
    void lose(const std::string& why) {
        if (state_ != State::pending) return;
        const std::string ended =
            got_headers_ ? "the connection ended within an answer" : "the connection ended before an answer";
        reply_.status = Status(Code::unavailable, why.empty() ? ended : why);
        reply_.message = ReceivedMessage();
        state_ = State::failed;
        reader_.reset();
    }

    void run_out_of_memory() {
        lose("");
        reply_.status = Status(Code::resource_exhausted, "expected memory for a call, the system has none left");
    }

    State state() const { return state_; }
    Clock::time_point began() const { return began_; }
    bool waits_for_pong() const { return pongs_due_ != 0; }

  private:
    const Headers& headers_of(const CallRequest& request) {
        headers_.resize(kFixedHeaders);
        headers_[kPath].second = request.path;
        if (request.deadline) headers_.emplace_back("grpc-timeout", timeout_text(*request.deadline - began_));
        if (!request.token.empty()) headers_.emplace_back("authorization", "Bearer " + std::string(request.token));
        if (request.metadata == nullptr) return headers_;
        for (const auto& [key, value] : *request.metadata) headers_.emplace_back(key, to_header_value(key, value));
        return headers_;
    }

    bool is_ours(std::int32_t stream) const { return state_ == State::pending && stream == stream_; }

    // The call has ended by this; the connection may be used again.
    void complete(Reply reply) {
        reply_ = std::move(reply);
        state_ = State::complete;
        reader_.reset();
        if (unsent(stream_) != 0) forget();  // the server does not need the rest of the request
        stream_ = 0;
    }

    // Tells the server that nobody waits for the call.
    void forget() {
        const std::int32_t stream = std::exchange(stream_, 0);
        submit_reset(stream, NGHTTP2_CANCEL);
    }

    void complete_with(Status status) {
        const bool open = stream_ != 0;
        const std::int32_t stream = stream_;
        Reply reply;
        reply.status = std::move(status);
        complete(std::move(reply));
        if (open) submit_reset(stream, NGHTTP2_CANCEL);
    }

    // What came is no answer.
    void break_off(std::string why) {  // a copy, of what may go with the call
        lose(no_answer(why).message);
        fail(std::move(why));
    }

    void on_stream_began(std::int32_t) override {}

    void on_header(std::int32_t stream, std::string_view name, std::string_view value) override {
        if (is_ours(stream)) last_.add(name, value);
    }

    void on_headers_complete(std::int32_t stream, bool ended) override {
        if (!is_ours(stream)) return;
        if (ended) {
            if (!got_headers_) first_.http_status = last_.http_status;
            return conclude();
        }
        const AnswerHeaders headers = std::exchange(last_, AnswerHeaders());
        if (headers.http_status / 100 == 1) return;  // the answer's own are to come
        got_headers_ = true;
        first_.http_status = headers.http_status;
        if (headers.http_status != kOk || !headers.is_grpc) return complete_with(made_up());
        if (headers.packed) reader_->accept_gzip();
    }

    void on_data(std::int32_t stream, std::span<const std::byte> bytes) override {
        while (is_ours(stream) && !bytes.empty()) {
            if (got_message_) return break_off("expected one message, got more");
            bytes = bytes.subspan(reader_->feed(bytes));
            const Status& error = reader_->error();
            if (error.code == Code::resource_exhausted) return complete_with(error);  // another server would say the same
            if (!error.ok()) return break_off(error.message);
            if (!reader_->complete()) return;
            reply_.message = reader_->take();
            got_message_ = true;
        }
    }

    void on_stream_ended(std::int32_t stream) override {
        if (is_ours(stream)) conclude();
    }

    // The server has no more.
    void conclude() {
        if (!last_.code) return complete_with(made_up());
        if (*last_.code == Code::ok && reader_->within()) return break_off("expected a whole message, got the begin of one");
        if (*last_.code == Code::ok && !got_message_) return break_off("expected one message, got none");
        Reply reply;
        reply.status = Status(*last_.code, std::move(last_.message));
        if (reply.status.ok()) reply.message = std::move(reply_.message);
        reply.trailers = std::move(last_.metadata);
        reply.pushback = last_.pushback;
        reply.is_servers_word = true;
        complete(std::move(reply));
    }

    // Of an answer without a status.
    Status made_up() const {
        const int http = first_.http_status;
        if (http == kOk) return {Code::unknown, "an invalid answer: expected a grpc-status, got none"};
        return {code_of_http_status(http), "expected an answer of gRPC, got HTTP status " + std::to_string(http)};
    }

    void on_stream_closed(std::int32_t stream, std::uint32_t error) override {
        if (!is_ours(stream)) return;
        stream_ = 0;
        Reply reply;
        reply.unprocessed = error == NGHTTP2_REFUSED_STREAM;
        reply.status = reply.unprocessed ? Status(Code::unavailable, "the server has refused the call before it began with it")
                                         : Status(code_of_http2_error(error), std::string("the server has ended the call: ") +
                                                                                  nghttp2_http2_strerror(error));
        complete(std::move(reply));
    }

    void on_goaway(std::int32_t last_stream, std::uint32_t error) override {
        leaving_ = true;
        if (state_ != State::pending || stream_ <= last_stream) return;
        reply_.unprocessed = true;
        lose(error == NGHTTP2_NO_ERROR ? "the server is leaving, and has not begun with the call"
                                       : std::string("the server has ended the connection: ") + nghttp2_http2_strerror(error));
    }

    void on_ping(bool acknowledged) override {
        if (acknowledged && pongs_due_ > 0) --pongs_due_;
    }
    void on_idle_frame() override {}

    std::span<std::byte> room_of(std::int32_t stream) override {
        return is_ours(stream) && !got_message_ ? reader_->room() : std::span<std::byte>();
    }

    static constexpr int kOk = 200;
    static constexpr std::size_t kPath = 2;
    static constexpr std::size_t kFixedHeaders = 7;

    const ClientLimits limits_;
    Headers headers_;
    State state_ = State::idle;
    Clock::time_point began_;
    std::int32_t stream_ = 0;  // of the call; 0: it is over
    bool leaving_ = false;     // the server takes no more calls
    int pongs_due_ = 0;
    bool got_headers_ = false, got_message_ = false;
    AnswerHeaders first_, last_;
    std::optional<MessageReader> reader_;
    Reply reply_;
};

ClientConnection::ClientConnection(std::unique_ptr<Transport> transport, const std::string& authority,
                                   const ClientLimits& limits, bool encrypted)
    : session_(std::make_unique<Session>(std::move(transport), authority, limits, encrypted)) {}

ClientConnection::~ClientConnection() {
    if (state() == State::pending) cancel();
}

void ClientConnection::begin(CallRequest request) noexcept {
    try {
        session_->begin(std::move(request));
    } catch (const std::bad_alloc&) {
        session_->run_out_of_memory();
    }
}

void ClientConnection::advance() noexcept {
    try {
        session_->advance();
    } catch (const std::bad_alloc&) {
        session_->run_out_of_memory();
    }
}

void ClientConnection::cancel() noexcept { session_->cancel(); }

bool ClientConnection::is_usable() noexcept { return session_->is_usable(); }

bool ClientConnection::waits_for_pong() const { return session_->waits_for_pong(); }

ClientConnection::State ClientConnection::state() const { return session_->state(); }
Reply ClientConnection::take() { return session_->take(); }
Clock::time_point ClientConnection::began() const { return session_->began(); }
int ClientConnection::socket() const { return session_->socket(); }
bool ClientConnection::wants_to_read() const { return session_->wants_to_read(); }
bool ClientConnection::wants_to_write() const { return session_->wants_to_write(); }
bool ClientConnection::has_buffered() const { return session_->has_buffered(); }

bool ClientConnection::is_connected() const {
    sockaddr_storage peer;
    socklen_t size = sizeof(peer);
    return getpeername(socket(), reinterpret_cast<sockaddr*>(&peer), &size) == 0;
}

}  // namespace persia::grpc
