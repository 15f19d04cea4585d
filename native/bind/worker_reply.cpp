#include "worker_reply.hpp"

#include <nanobind/stl/string_view.h>

#include "base/error.hpp"
#include "inference/frame_numbers.hpp"
#include "inference/worker_frames.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using inference::kEndOfList;
using inference::kMaxBodyBytes;
using inference::kMaxHeaders;
using inference::kMaxTextBytes;
using inference::put_number;
using inference::put_text;

constexpr std::size_t kLentBytes = 64 << 10;  // fewer are copied
constexpr std::int32_t kRefusedStatus = 507;  // as of an answer that is larger than max_response_size

// Of that many at most. what: what there may be so many of.
std::int32_t limited(std::size_t got, std::int32_t most, const std::string& before, const char* what) {
    if (got <= static_cast<std::size_t>(most)) return static_cast<std::int32_t>(got);
    throw TooLarge("expected " + before + "at most " + std::to_string(most) + what + " from the handler, got " +
                   std::to_string(got));
}

std::string_view limited_text(nb::handle text, const char* name) {
    const auto words = nb::cast<std::string_view>(text);
    if (words.size() > kMaxTextBytes) limited(words.size(), kMaxTextBytes, name + std::string(" of "), " bytes");
    return words;
}

}  // namespace

std::optional<std::string> why_no_words(std::string_view words) {
    try {
        limited(words.size(), kMaxTextBytes, "words of ", " bytes");
    } catch (const TooLarge& error) {
        return error.what();
    }
    return std::nullopt;
}

WorkerReply::WorkerReply(std::int32_t code, std::string_view message) {
    put_number(small_, code);
    put_text(small_, message);
}

void WorkerReply::put(const nb::tuple& prediction) {
    const std::size_t before = small_.size();
    try {
        put_head(prediction);
        put_body(prediction[5]);
    } catch (const TooLarge&) {
        small_.resize(before);
        throw;
    }
}

void WorkerReply::put_refusal(nb::handle id, std::string_view why) {
    put_text(small_, limited_text(id, "an id"));
    put_text(small_, "");
    put_number(small_, kRefusedStatus);
    put_text(small_, "");
    put_number(small_, 1);
    put_text(small_, inference::kRefusalHeader);
    put_text(small_, "true");
    put_text(small_, why);
}

std::vector<iovec> WorkerReply::end() {
    put_number(small_, kEndOfList);
    std::vector<iovec> all;
    std::size_t at = 0;
    for (const Lent& lent : lent_) {
        all.push_back({small_.data() + at, lent.small_until - at});
        all.push_back({const_cast<std::byte*>(lent.bytes.data()), lent.bytes.size()});
        at = lent.small_until;
    }
    all.push_back({small_.data() + at, small_.size() - at});
    return all;
}

void WorkerReply::put_head(const nb::tuple& prediction) {
    put_text(small_, limited_text(prediction[0], "an id"));
    put_text(small_, limited_text(prediction[1], "a content type"));
    put_number(small_, nb::cast<std::int32_t>(prediction[2]));
    put_text(small_, limited_text(prediction[3], "a reason"));
    const auto headers = nb::cast<nb::dict>(prediction[4]);
    put_number(small_, limited(nb::len(headers), kMaxHeaders, "", " headers"));
    for (const auto& [name, value] : headers) {
        put_text(small_, limited_text(name, "the name of a header"));
        put_text(small_, limited_text(value, "a header"));
    }
}

void WorkerReply::put_body(nb::handle body) {
    bodies_.emplace_back(body, PyBUF_SIMPLE);
    const auto bytes = bodies_.back().bytes();
    put_number(small_, limited(bytes.size(), kMaxBodyBytes, "a body of ", " bytes"));
    if (bytes.size() < kLentBytes) {
        small_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    } else {
        lent_.push_back({small_.size(), bytes});
    }
}

}  // namespace persia::bind
