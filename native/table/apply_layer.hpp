// What a layer says, applied to what lies under it.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>

#include "table/snapshot.hpp"

namespace persia {

// How far whoever goes through many signs looks ahead for the index lines, and then for the rows.
constexpr std::size_t kAhead = 128;
constexpr std::size_t kRowsAhead = 64;

// The table is being destroyed: what was begun need not be finished.
class Stopped : public std::exception {};

// What becomes of deletions: a base forgets the sign, and in a layer the deletion stays.
enum class Deletions { forget, stay };

// Throws Stopped soon after `stopping` is set, so that nobody who destroys a table waits for a long fold; null: it is never
// set. Throws TooLarge where memory is used up. Not thread-safe: nobody else may use `to` meanwhile.
void apply_layer(const Layer& layer, RowMap& to, Deletions deletions, const std::atomic<bool>* stopping = nullptr);

}  // namespace persia
