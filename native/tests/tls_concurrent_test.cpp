// Connections and calls while certificates and tokens are exchanged.
#include <atomic>
#include <thread>
#include <vector>

#include "certified.hpp"
#include "grpc/guard.hpp"

using namespace certified;

TEST(files_change_under_threads_that_use_them) {
    Folder folder;
    const Authority authority;
    const std::string ca = folder.write("ca.pem", authority.made.certificate);
    const auto server = TlsContext::for_server(files_of(folder, "server", authority.server({"localhost"}), ca));
    const auto client = TlsContext::for_client(files_of(folder, "client", authority.client("trainer"), ca));
    const std::string kept = "kept:0123456789abcdef\n";
    const auto guard = persia::grpc::guard_of(folder.write("tokens", kept), true);
    constexpr int kThreads = 3, kConnections = 15;
    std::atomic<int> running = kThreads;
    std::atomic<int> wrong = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
        threads.emplace_back([&] {
            for (int k = 0; k < kConnections; ++k) {
                Ends ends = connected(*server, *client);
                const std::string name = ends.server->peer_name();
                if (name != "trainer") ++wrong;
                if (guard->identity_of("Bearer 0123456789abcdef", name) != "kept") ++wrong;
                write_text(*ends.client, std::string(50'000, 'x'));
                if (read_text(*ends.server).empty()) ++wrong;
            }
            --running;
        });
    }
    while (running > 0) {
        files_of(folder, "server", authority.server({"localhost"}), "");
        folder.write("tokens", kept + "other:fedcba9876543210\n");
        if (!server->refresh().empty() || !client->refresh().empty() || !guard->refresh().empty()) ++wrong;
        folder.write("tokens", kept);
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
}
