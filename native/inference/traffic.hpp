// How the requests of a model are dealt out among its versions: by weight, and copied to a candidate that nobody waits for.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace persia::inference {

struct Traffic {
    std::map<std::string, double> weights;  // of versions; empty: the default version gets every request
    std::string sticky_by;                  // the name of a header, in lower case; empty: each request draws anew
    std::string shadow;                     // the version that gets copies; empty: none does
    double shadow_share = 1;                // of the requests, up to 1

    // One of `weights`, of which some are over 0. Requests of one key get the same one, and where a weight changes only those
    // keys move that must. An empty key: at random. REQUIRES: weights are not empty.
    const std::string& choose(std::string_view key) const;
    // Whether the next request is one of those that the shadow gets. REQUIRES: there is a shadow.
    bool copies() const;
};

}  // namespace persia::inference
