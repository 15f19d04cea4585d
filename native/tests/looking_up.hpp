// Lookups of tests, and how they fail.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "check.hpp"
#include "grpc/call_failed.hpp"
#include "routing/router.hpp"
#include "shard_servers.hpp"

namespace persia {

using grpc::Code;
using routing::LookupResult;
using routing::Router;

constexpr double kLong = 30;  // seconds: nothing here takes so long

inline LookupResult look_up(const Router& router, const Bytes& batch, double seconds, std::vector<std::uint16_t>& numbers) {
    const auto lookup = router.begin(decode_batch(batch), seconds);
    LookupResult result = lookup->finish();
    numbers.assign(lookup->room()->all().begin(), lookup->room()->all().end());
    return result;
}

inline std::string failure(const Router& router, const Bytes& batch, Code code, double seconds = kLong) {
    try {
        std::vector<std::uint16_t> numbers;
        static_cast<void>(look_up(router, batch, seconds, numbers));
    } catch (const grpc::CallFailed& error) {
        CHECK(error.status.code == code);
        return error.what();
    }
    CHECK(!"it failed");
    return {};
}

inline bool contains(const std::string& text, const std::string& part) {
    if (text.find(part) != std::string::npos) return true;
    std::fprintf(stderr, "expected '%s' in: %s\n", part.c_str(), text.c_str());
    return false;
}

inline void be_well_again(Shards& shards) {
    for (std::size_t i = 0; i < shards.replicas.size(); ++i) {
        shards.replicas[i]->set_health(shards.replicas[i]->generation(), {.ready = true, .state = "", .refused = ""});
    }
}

}  // namespace persia
