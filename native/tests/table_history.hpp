// What a writer does to a table from version to version, or from epoch to epoch, and what a reader of each must see.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "tables.hpp"

namespace persia {

struct TableHistory {
    // onto: the version that one goes on from.
    using Onto = std::function<std::size_t(std::size_t version, std::mt19937_64& random)>;

    TableHistory(
        std::size_t versions, std::uint64_t signs, std::uint32_t its_dim, std::size_t most_changes,
        const Onto& goes_on_from = [](std::size_t version, std::mt19937_64&) { return version - 1; })
        : dim(its_dim), rows(versions + 1, std::vector<std::uint32_t>(signs)), onto(versions + 1) {
        std::mt19937_64 random(3);
        for (std::uint64_t sign = 0; sign < signs / 2; ++sign) rows[0][sign] = 1;
        for (std::size_t version = 1; version <= versions; ++version) {
            onto[version] = goes_on_from(version, random);
            rows[version] = rows[onto[version]];
            const std::size_t changes = random() % most_changes;
            for (std::size_t i = 0; i < changes; ++i) {
                std::uint32_t& row = rows[version][random() % signs];
                row = random() % 4 == 0 ? 0 : static_cast<std::uint32_t>(version + 1);
            }
        }
    }

    // From the version that it goes on from to this one.
    Layer layer(std::size_t version) const {
        Layer layer(RowStorage::f32);
        for (std::uint64_t sign = 0; sign < rows[version].size(); ++sign) {
            const std::uint32_t now = rows[version][sign];
            if (now == rows[onto[version]][sign]) continue;
            if (now == 0) {
                layer.add_tombstone(sign);
            } else {
                put_range(sign, sign + 1, dim, static_cast<float>(now),
                          [&](const RowBlock& block) { layer.rows.put(block, {}, 3); });
            }
        }
        return layer;
    }

    // How many numbers of some rows are not those of the version.
    std::size_t wrong_numbers(const Snapshot& snapshot, std::size_t version, std::mt19937_64& random) const {
        std::vector<std::uint64_t> signs(200);
        for (std::uint64_t& sign : signs) sign = random() % rows[version].size();
        const auto [found, misses] = rows_of(snapshot, signs, dim);
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < signs.size(); ++i) {
            const std::uint32_t row = rows[version][signs[i]];
            const float want = row == 0 ? 0.0F : value(signs[i], static_cast<float>(row));
            for (std::size_t k = 0; k < dim; ++k) wrong += found[i * dim + k] != want;
        }
        return wrong;
    }

    const std::uint32_t dim;
    std::vector<std::vector<std::uint32_t>> rows;  // [version][sign]; 0 stands for no row
    std::vector<std::size_t> onto;                 // [version]
};

}  // namespace persia
