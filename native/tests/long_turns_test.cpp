// Whether a connection says that it will keep the thread that reads it for a while.
#include "check.hpp"
#include "conversations.hpp"

using namespace persia::grpc;

namespace {

std::string window_updates(int count) {
    std::string frames;
    for (int i = 0; i < count; ++i) frames += frame(NGHTTP2_WINDOW_UPDATE, 0, 0, std::string("\0\0\0\1", 4));
    return frames;
}

}  // namespace

TEST(what_clients_say_when_all_is_well_is_soon_read) {
    Answering answering;
    for (const std::string& conversation : client_conversations()) CHECK(answering.hear(conversation, 1 << 20));
    CHECK(answering.server.shared->much_to_read == 0);
}

TEST(a_turn_of_many_frames_is_told_once) {
    Answering answering;
    answering.server.connect();
    answering.server.take(kPreface + frame(NGHTTP2_SETTINGS, 0, 0, ""));
    for (int turn = 1; turn <= 3; ++turn) {
        answering.server.take(window_updates(20));
        answering.server.take(window_updates(200));
        CHECK(answering.server.shared->much_to_read == turn);
    }
}
