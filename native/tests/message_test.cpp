// Messages as they are put together, and as they are sent.
#include "grpc/message.hpp"

#include <zlib.h>

#include <algorithm>
#include <memory>
#include <string>

#include "check.hpp"
#include "http2_peer.hpp"

using namespace persia::grpc;

namespace {

constexpr std::size_t kMost = 1'000'000;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string packed(std::string_view text) {
    z_stream stream{};
    CHECK(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    std::string out(deflateBound(&stream, text.size()), '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream.avail_in = static_cast<uInt>(text.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
}

// As a message travels that says it is packed.
std::string framed_as_packed(std::string_view bytes) {
    std::string all = framed(bytes);
    all[0] = 1;
    return all;
}

// Feeds all of it, so many bytes at a time. Returns the messages.
std::vector<std::string> fed(MessageReader& reader, std::string_view all, std::size_t at_a_time) {
    std::vector<std::string> messages;
    while (!all.empty() && reader.error().ok()) {
        std::span<const std::byte> part = bytes_of(all.substr(0, at_a_time));
        all.remove_prefix(part.size());
        while (!part.empty() && reader.error().ok()) {
            part = part.subspan(reader.feed(part));
            if (reader.complete()) messages.push_back(text_of(reader.take().bytes()));
        }
    }
    return messages;
}

Status error_of(std::string_view all, bool gzip = true, std::size_t most = kMost,
                std::shared_ptr<MemoryBudget> budget = nullptr) {
    MessageReader reader(most, std::move(budget));
    if (gzip) reader.accept_gzip();
    CHECK(fed(reader, all, all.size()).empty() && !reader.complete());
    CHECK(reader.feed(bytes_of("more")) == 0 && reader.room().empty());  // it takes nothing more
    return reader.error();
}

}  // namespace

TEST(messages_are_put_together_however_they_come) {
    const std::string large = some_text(200'000);
    const std::vector<std::string> messages = {"one", "", "x", large, "last"};
    std::string all;
    for (const std::string& message : messages) all += framed(message);
    for (const std::size_t at_a_time : {1UL, 2UL, 3UL, 4UL, 5UL, 6UL, 7UL, 1'000UL, 16'384UL, 1'000'000UL}) {
        MessageReader reader(kMost, nullptr);
        CHECK(fed(reader, all, at_a_time) == messages);
        CHECK(reader.error().ok() && !reader.within());
    }
    MessageReader reader(kMost, nullptr);
    CHECK(!reader.within());
    CHECK(reader.feed(bytes_of(std::string_view("\0", 1))) == 1 && reader.within() && !reader.complete());
}

TEST(the_rest_of_a_large_message_is_read_to_its_place) {
    const std::string text = some_text(300'000), all = framed(text);
    MessageReader reader(kMost, nullptr);
    CHECK(reader.room().empty());  // nobody knows yet how large it is
    CHECK(reader.feed(bytes_of(all).first(1'000)) == 1'000);
    std::size_t came = 1'000;
    const std::byte* last = nullptr;
    while (!reader.complete()) {
        std::span<std::byte> room = reader.room();
        if (room.empty()) {  // what is left is not worth a read of its own
            CHECK(all.size() - came < 16'384);
            reader.feed(bytes_of(all).subspan(came));
            continue;
        }
        room = room.first(std::min<std::size_t>(room.size(), 50'000));
        std::ranges::copy(bytes_of(all).subspan(came, room.size()), room.begin());
        last = room.data();
        CHECK(reader.feed(room) == room.size());
        came += room.size();
    }
    const ReceivedMessage message = reader.take();
    CHECK(text_of(message.bytes()) == text && last != nullptr);
    CHECK(reinterpret_cast<std::uintptr_t>(message.bytes().data()) % alignof(std::max_align_t) == 0);
}

TEST(what_is_too_large_is_refused_with_both_numbers_before_it_comes) {
    const Status error = error_of(framed(some_text(1'001)).substr(0, 5), true, 1'000);
    CHECK(error.code == Code::resource_exhausted);
    CHECK(error.message == "expected a message of at most 1000 bytes, got one of 1001");
    MessageReader reader(1'000, nullptr);
    CHECK(fed(reader, framed(some_text(1'000)), 100).size() == 1);
    MessageReader nothing(0, nullptr);
    CHECK(fed(nothing, framed(""), 5).size() == 1);
    CHECK(error_of(framed("x"), true, 0).message == "expected a message of at most 0 bytes, got one of 1");
}

TEST(flags_that_are_none_are_refused) {
    std::string wrong = framed("x");
    wrong[0] = 2;
    CHECK(error_of(wrong).code == Code::internal);
    CHECK(error_of(wrong).message == "expected a message that begins with 0 or 1, got 2");
    CHECK(error_of(framed_as_packed(packed("x")), false).code == Code::internal);
    CHECK(error_of(framed_as_packed(packed("x")), false).message.starts_with("expected a message without compression"));
}

TEST(packed_messages_are_unpacked) {
    for (const std::string& text : {std::string(), std::string("short"), some_text(500'000), std::string(900'000, 'a')}) {
        const std::string all = framed_as_packed(packed(text)) + framed("plain");
        for (const std::size_t at_a_time : {1UL, 1'000UL, 10'000'000UL}) {
            MessageReader reader(kMost, nullptr);
            reader.accept_gzip();
            CHECK((fed(reader, all, at_a_time) == std::vector<std::string>{text, "plain"}));
        }
    }
}

TEST(packed_messages_have_the_same_limit) {
    const Status error = error_of(framed_as_packed(packed(std::string(1'001, 'a'))), true, 1'000);
    CHECK(error.code == Code::resource_exhausted);
    CHECK(error.message == "expected a message of at most 1000 bytes, got one of more when it is unpacked");
    MessageReader reader(1'000, nullptr);
    reader.accept_gzip();
    CHECK(fed(reader, framed_as_packed(packed(std::string(1'000, 'a'))), 10).size() == 1);
}

TEST(what_is_no_gzip_is_refused) {
    const std::string good = packed("some text that is packed");
    std::string spoiled = good;
    spoiled[spoiled.size() / 2] = static_cast<char>(spoiled[spoiled.size() / 2] ^ 0x55);
    for (const std::string& bytes : {std::string(), std::string("plain"), good.substr(0, good.size() - 1), good + "x",
                                     good + good, good.substr(0, 5), spoiled}) {
        const Status error = error_of(framed_as_packed(bytes));
        CHECK(error.code == Code::internal && error.message == "expected a message packed by gzip, got other bytes");
    }
}

TEST(who_announces_much_and_sends_little_holds_little) {
    const auto budget = std::make_shared<MemoryBudget>(100'000'000);
    MessageReader reader(kMaxMessageBytes, budget);
    std::string head = framed("x");
    head[1] = 0x0f;  // 251 MB
    CHECK(reader.feed(bytes_of(head)) == head.size() && reader.within());
    CHECK(budget->used() > 0 && budget->used() < 100'000);
}

TEST(memory_is_taken_of_a_budget_until_the_message_goes) {
    const auto budget = std::make_shared<MemoryBudget>(150'000);
    {
        MessageReader reader(kMost, budget);
        fed(reader, framed(some_text(100'000)).substr(0, 90'000), 90'000);
        CHECK(budget->used() >= 89'000);
    }
    CHECK(budget->used() == 0);
    MessageReader reader(kMost, budget);
    CHECK(reader.feed(bytes_of(framed(some_text(100'000)))) == 100'005);
    {
        const ReceivedMessage message = reader.take();
        CHECK(budget->used() >= 100'000);
        const Status error = error_of(framed(some_text(100'000)), true, kMost, budget);
        CHECK(error.code == Code::resource_exhausted);
        CHECK(error.message.starts_with("expected memory for a message of 100000 bytes, got none: 100"));
        CHECK(error.message.ends_with(" of 150000 bytes are in use"));
        CHECK(error_of(framed_as_packed(packed(std::string(100'000, 'a'))), true, kMost, budget).code ==
              Code::resource_exhausted);
    }
    CHECK(budget->used() == 0);
}

TEST(memory_that_was_taken_before_is_used_first) {
    const auto budget = std::make_shared<MemoryBudget>(150'000);
    MessageReader reader(kMost, budget);
    Reservation memory(budget);
    CHECK(memory.grow_to(120'000));
    reader.use(std::move(memory));
    CHECK(reader.feed(bytes_of(framed(some_text(100'000)))) == 100'005 && budget->used() == 120'000);
    CHECK(reader.take().size() == 100'000);
    CHECK(budget->used() == 0);
    reader.use(Reservation(budget));
    CHECK(fed(reader, framed(some_text(100'000)), 10'000).size() == 1 && budget->used() == 0);
}

TEST(reservations_grow_and_give_back_what_they_took) {
    const auto budget = std::make_shared<MemoryBudget>(100);
    Reservation first(budget), second(budget);
    CHECK(first.grow_to(60) && !second.grow_to(41) && second.bytes() == 0 && second.grow_to(40) && budget->used() == 100);
    CHECK(first.grow_to(10) && first.bytes() == 60);  // never smaller
    CHECK(!first.grow_to(static_cast<std::size_t>(-1)) && first.bytes() == 60);
    Reservation moved(std::move(first));
    CHECK(moved.bytes() == 60 && budget->used() == 100);
    second = Reservation();
    CHECK(budget->used() == 60);
    Reservation of_none;
    CHECK(of_none.grow_to(1'000'000'000) && of_none.budget() == nullptr && moved.budget() == budget);
}

TEST(small_bytes_are_kept_and_large_ones_are_lent) {
    OutgoingMessage message;
    CHECK(message.size() == 0 && message.pieces().empty());
    message.append(bytes_of("one "));
    message.append({});
    message.append(bytes_of("two "));
    auto owner = std::make_shared<std::string>("three");
    const std::weak_ptr<std::string> lives = owner;
    message.append(bytes_of(*owner), owner);
    message.append(bytes_of(" four"));
    owner.reset();
    {
        const auto pieces = message.pieces();
        CHECK(pieces.size() == 3 && message.size() == 18);
        CHECK(text_of(pieces[0].bytes) == "one two " && text_of(pieces[1].bytes) == "three");
        CHECK(text_of(pieces[2].bytes) == " four" && !lives.expired());
        message = {};
        CHECK(!lives.expired());  // as long as somebody sends it
    }
    CHECK(lives.expired());
    CHECK(text_of(OutgoingMessage(std::string("all")).pieces().front().bytes) == "all");
    CHECK(OutgoingMessage(std::string()).pieces().empty());
}

TEST(a_prefix_tells_the_size) {
    std::byte prefix[kPrefixBytes];
    put_prefix(prefix, 0x01020304);
    CHECK(text_of(prefix) == std::string("\0\1\2\3\4", 5));
}
