// The ids of a batch alone (docs/formats/id-part.md), as a client sends them on to a middleware: a third of the byte batch,
// which has every id a second time in a map, and its places in four bytes each.
//
// Thread safety: free functions; no shared state.
#pragma once

#include <cstddef>
#include <span>

#include "base/bytes.hpp"
#include "batch/batch.hpp"

namespace persia {

// Appends the ids of `batch`, and their weights. REQUIRES: batch.has_ids. Throws FeatureError for weights that do not fit the
// ids.
void encode_ids(const Batch& batch, Writer& out);

// A batch with features only, checked like those of decode_batch. Views borrow from `bytes`. Throws DecodeError, and TooLarge
// beyond 4 GiB. Allocates at most a small multiple of bytes.size(), whatever the bytes say.
Batch decode_ids(std::span<const std::byte> bytes);

}  // namespace persia
