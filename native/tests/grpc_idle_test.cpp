// Connections that do nothing cost little.
#include <sys/resource.h>
#include <sys/wait.h>

#include "flood.hpp"

using namespace persia::grpc;

// Half of them say nothing at all, the others have been answered once. A process of its own has the other ends, and none of the
// server's memory.
TEST(ten_thousand_idle_connections_cost_little) {
    constexpr std::size_t kConnections = 10'000;
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < kConnections + 100) {
        std::printf("    skipped: this system allows %zu descriptors\n", static_cast<std::size_t>(limit.rlim_cur));
        return;
    }
    int orders[2], reports[2];
    CHECK(pipe(orders) == 0 && pipe(reports) == 0);
    const pid_t other_end = fork();  // while there is one thread
    if (other_end == 0) {
        char address[64] = {}, byte = 0;
        close(orders[1]);
        bool fine = read(orders[0], address, sizeof(address)) > 0;
        std::vector<RawSocket> idle;
        const std::string hello =
            kPreface + kSettings + call_frame(1) + frame(NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, framed("x"));
        for (std::size_t i = 0; fine && i < kConnections; ++i) {
            idle.emplace_back(address);
            if (i % 2 == 0) fine = idle.back().send(hello) == hello.size();
        }
        fine = fine && write(reports[1], "y", 1) == 1;
        while (read(orders[0], &byte, 1) > 0) {  // until the test is over
        }
        _exit(fine ? 0 : 1);
    }
    close(orders[0]);
    ServerLimits limits;
    limits.handshake = std::chrono::hours(1);
    Served served(limits);
    Caller other(served.address);
    const std::size_t before = resident_bytes();
    CHECK(write(orders[1], served.address.c_str(), served.address.size() + 1) > 0);
    while (served.server->counts().connections < kConnections + 1 || served.server->counts().finished < kConnections / 2) {
        CHECK(other.ask(kEcho, "x").message() == "x");
    }
    char byte = 0;
    CHECK(read(reports[0], &byte, 1) == 1);
    for (int i = 0; i < 100; ++i) CHECK(other.ask(kEcho, "x").message() == "x");
    const std::size_t each = (resident_bytes() - before) / kConnections;
    std::printf("    %zu bytes for each\n", each);
    CHECK(each < 64 << 10);
    close(orders[1]);
    int status = 0;
    CHECK(waitpid(other_end, &status, 0) == other_end && status == 0);
    close(reports[0]);
    close(reports[1]);
}
