#include "inference/worker_link.hpp"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <unordered_set>
#include <utility>

#include "base/error.hpp"
#include "base/text.hpp"
#include "inference/handler_status.hpp"
#include "inference/request_ids.hpp"

namespace persia::inference {

namespace {

constexpr std::size_t kReadBytes = 64 << 10;
constexpr std::size_t kPiecesAtOnce = 64;
constexpr std::string_view kStreamHeader = "ts_stream_next";
constexpr std::uint32_t kReadable = EPOLLIN | EPOLLRDHUP;

// Replies name requests by their ids, and callers may have given two of them the same one.
void make_distinct(std::vector<Job>& batch) {
    std::unordered_set<std::string_view> ids;
    for (Job& job : batch) {
        if (ids.insert(job.request.id).second) continue;
        job.request.id = new_request_id();
        ids.insert(job.request.id);
    }
}

// What is told to whoever waits for it.
struct Answer {
    std::shared_ptr<Responder> responder;
    Prediction prediction;
    bool more;
};

void tell(Answer answer) {
    Prediction& prediction = answer.prediction;
    if (prediction.too_large) {
        answer.responder->on_failure(
            {Failure::Kind::handler, 507, "the handler's answer is larger than max_response_size", {}});
    } else if (prediction.has(kRefusalHeader, "true")) {
        answer.responder->on_failure({Failure::Kind::handler, prediction.status, std::string(text_of(prediction.body)), {}});
    } else {
        answer.responder->on_prediction(std::move(prediction), answer.more);
    }
}

}  // namespace

WorkerLink::WorkerLink(int socket, pid_t process, const WorkerLimits& limits, net::Reactor& reactor,
                       std::weak_ptr<Employer> employer)
    : socket_(socket), process_(process), limits_(limits), reactor_(reactor), employer_(std::move(employer)),
      reader_(limits.max_body_bytes) {}

WorkerLink::~WorkerLink() { close(socket_); }

void WorkerLink::begin() {
    key_ = reactor_.watch(shared_from_this());
    reactor_.wait_for(key_, socket_, kReadable);
}

void WorkerLink::send(std::vector<Job> batch) {
    {
        const std::lock_guard lock(mutex_);
        batch_ = std::move(batch);
        if (batch_.size() > 1) make_distinct(batch_);
        has_sent_ = false;
        if (ending_ == Ending::none) {
            std::vector<const WorkerRequest*> requests;
            requests.reserve(batch_.size());
            for (const Job& job : batch_) requests.push_back(&job.request);
            unsent_ = encode_batch(requests).pieces();
            std::reverse(unsent_.begin(), unsent_.end());
            unsent_from_ = 0;
            sent_ = Clock::now();
            watch_time();
            if (write_some()) {
                if (!unsent_.empty()) reactor_.wait_for(key_, socket_, kReadable | EPOLLOUT);
                return;
            }
        }
    }
    on_closed();
}

void WorkerLink::on_ready(std::uint32_t) {
    std::vector<WorkerReply> replies;
    bool alive = true;
    std::string unreadable;
    {
        const std::lock_guard lock(mutex_);
        if (ending_ != Ending::none) return;
        try {
            alive = read_some(replies) && write_some();
        } catch (const DecodeError& error) {
            unreadable = error.what();
        }
    }
    for (WorkerReply& reply : replies) take_reply(std::move(reply));
    if (!unreadable.empty()) return lose("it sent a reply that cannot be read: " + unreadable);
    if (!alive) return on_closed();
    const std::lock_guard lock(mutex_);
    if (ending_ != Ending::none) return;
    reactor_.wait_for(key_, socket_, kReadable | (unsent_.empty() ? 0U : EPOLLOUT));
}

// False: it is lost.
bool WorkerLink::write_some() {
    while (!unsent_.empty()) {
        iovec pieces[kPiecesAtOnce];
        std::size_t count = 0;
        for (auto piece = unsent_.rbegin(); piece != unsent_.rend() && count < kPiecesAtOnce; ++piece, ++count) {
            const std::size_t from = count == 0 ? unsent_from_ : 0;
            pieces[count] = {const_cast<std::byte*>(piece->bytes.data()) + from, piece->bytes.size() - from};
        }
        msghdr message{};
        message.msg_iov = pieces;
        message.msg_iovlen = count;
        const ssize_t sent = sendmsg(socket_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            if (errno == EINTR) continue;
            return errno == EAGAIN || errno == EWOULDBLOCK;
        }
        has_sent_ = true;
        auto left = static_cast<std::size_t>(sent);
        while (!unsent_.empty() && left >= unsent_.back().bytes.size() - unsent_from_) {
            left -= unsent_.back().bytes.size() - unsent_from_;
            unsent_.pop_back();
            unsent_from_ = 0;
        }
        unsent_from_ += left;
    }
    return true;
}

// False: it is lost. Throws DecodeError for a reply that is none; `replies` has those before it.
bool WorkerLink::read_some(std::vector<WorkerReply>& replies) {
    std::byte buffer[kReadBytes];
    for (;;) {
        const auto room = reader_.room();
        iovec into[2] = {{room.data(), room.size()}, {buffer, sizeof(buffer)}};
        msghdr message{};
        message.msg_iov = room.empty() ? into + 1 : into;
        message.msg_iovlen = room.empty() ? 1 : 2;
        const ssize_t got = recvmsg(socket_, &message, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
        if (got == 0) return false;
        const std::size_t in_room = std::min(room.size(), static_cast<std::size_t>(got));
        std::span<const std::byte> rest(buffer, static_cast<std::size_t>(got) - in_room);
        if (in_room != 0) reader_.feed_room(in_room);
        while (!rest.empty()) {
            rest = rest.subspan(reader_.feed(rest));
            if (reader_.complete()) replies.push_back(reader_.take());
        }
        if (static_cast<std::size_t>(got) < room.size() + sizeof(buffer)) return true;
    }
}

void WorkerLink::take_reply(WorkerReply reply) {
    std::vector<Answer> answers;
    std::vector<Job> answered, failed;
    bool streams = false, done = false, asked = true;
    const auto replied = Clock::now();
    Clock::time_point sent;
    {
        const std::lock_guard lock(mutex_);
        if (ending_ != Ending::none) return;
        asked = !batch_.empty();
        sent = sent_;
        if (reply.code != 200) {
            failed = std::exchange(batch_, {});
        } else {
            for (Prediction& prediction : reply.predictions) {
                const auto found = std::find_if(batch_.begin(), batch_.end(),
                                                [&](const Job& job) { return job.request.id == prediction.request_id; });
                if (found == batch_.end()) continue;
                const bool more = prediction.has(kStreamHeader, "true");
                answers.push_back({found->responder, std::move(prediction), more});
                streams = streams || more;
                if (more) continue;
                answered.push_back(std::move(*found));
                batch_.erase(found);
            }
            // Who is neither answered nor streamed to gets no answer from this worker any more.
            if (!streams) failed = std::exchange(batch_, {});
        }
        done = batch_.empty();
        if (!done) watch_time();
    }
    if (!asked) return lose("it sent a reply while it had no request");
    // It goes on with the next batch while this one's answers are sent.
    if (done) finish_batch();
    if (const auto employer = employer_.lock()) {
        for (const std::vector<Job>* jobs : {&answered, &failed}) {
            for (const Job& job : *jobs) employer->on_answered(job, sent, replied);
        }
    }
    for (Answer& answer : answers) tell(std::move(answer));
    const bool said_why = reply.code != 200;
    fail_all(failed, {Failure::Kind::handler,
                      !said_why               ? 503
                      : is_status(reply.code) ? reply.code
                                              : 500,
                      said_why ? reply.message : "number of batch response mismatched",
                      {}});
}

void WorkerLink::finish_batch() {
    std::chrono::nanoseconds took{};
    bool is_retired = false;
    {
        const std::lock_guard lock(mutex_);
        took = Clock::now() - sent_;
        is_retired = retiring_;
    }
    const auto employer = employer_.lock();
    if (employer) employer->on_batch_done(shared_from_this(), took);
    if (is_retired) return end_as(Ending::retired, "", "");
    if (employer) employer->on_free(shared_from_this());
}

}  // namespace persia::inference
