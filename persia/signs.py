"""From id to sign to shard, one step per function: the readable reference of what the native router does in one pass.

An id of a feature is taken modulo a number if the slot says so, and becomes `rounds` ids if the slot has a hash stack; each is
moved into the range of the slot's group, and is then a sign, the key of a row; a hash of the sign says which shard has the row.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.errors import FeatureError, InvalidInput
from persia.ids import hash_strings, ids_of

__all__ = [
    "SignRule",
    "add_prefix",
    "farmhash64",
    "hash_stack",
    "hash_string",
    "hash_strings",
    "shard_of",
    "signs_of",
    "take_modulo",
]

_U64 = npt.NDArray[np.uint64]


class SignRule(Protocol):
    """What decides the signs of a slot; persia.config.Slot is one."""

    @property
    def hash_stack_rounds(self) -> int: ...
    @property
    def hash_stack_size(self) -> int: ...
    @property
    def prefix(self) -> int: ...
    @property
    def prefix_bits(self) -> int: ...
    @property
    def modulo(self) -> int: ...
    @property
    def ids_are_signs(self) -> bool: ...


def farmhash64(ids: Any) -> _U64:
    """(n) -> (n). FarmHash's Hash64 of the 8 little-endian bytes of each id, with which Persia hashes everything."""
    return _core.farmhash64(np.ascontiguousarray(_as_ids(ids)))


def hash_string(text: str) -> int:
    """The id that a string stands for: FarmHash's Fingerprint64 of its UTF-8 (docs/ids.md). Raises InvalidInput."""
    return int(_core.hash_strings([text])[0])


def shard_of(signs: Any, shards: int) -> npt.NDArray[np.uint32]:
    """(n) -> (n). The shard that the row of each sign is on, out of so many."""
    if not 1 <= shards < 1 << 32:
        raise InvalidInput(f"expected 1 to 2^32 - 1 shards, got {shards}")
    return _core.shard_of(np.ascontiguousarray(_as_ids(signs)), shards)


def hash_stack(ids: Any, rounds: int, embedding_size: int) -> _U64:
    """(n) -> (rounds, n). Round r hashes what round r - 1 hashed to, and has the ids from r * embedding_size."""
    if rounds < 1 or embedding_size < 1:
        raise InvalidInput(f"expected at least 1 round and 1 row, got {rounds} and {embedding_size}")
    hashed = _as_ids(ids)
    out = np.empty((rounds, len(hashed)), np.uint64)
    for r in range(rounds):
        hashed = farmhash64(hashed)
        out[r] = hashed % np.uint64(embedding_size) + np.uint64(r * embedding_size)
    return out


def add_prefix(ids: Any, prefix: int, prefix_bits: int) -> _U64:
    """(n) -> (n). The modulus is 2^k - 1, not 2^k, as in every checkpoint of Persia: the ids 0 and 2^k - 1 share a row."""
    if not 1 <= prefix_bits <= 63:
        raise InvalidInput(f"expected 1 to 63 prefix bits, got {prefix_bits}")
    if not 0 <= prefix < 1 << 64 or prefix % (1 << (64 - prefix_bits)):
        raise InvalidInput(f"expected a prefix in the upper {prefix_bits} of 64 bits, got {prefix:#x}")
    return _as_ids(ids) % np.uint64((1 << (64 - prefix_bits)) - 1) + np.uint64(prefix)


def take_modulo(ids: _U64, modulo: int) -> _U64:
    """As Python and torch have it: never negative. Ids from 2^63 on are the negative numbers of the same bits."""
    if not 1 <= modulo < 1 << 63:
        raise InvalidInput(f"expected a modulo from 1 to 2^63 - 1, got {modulo}")
    return (ids.view(np.int64) % np.int64(modulo)).view(np.uint64)


def signs_of(ids: Any, slot: SignRule) -> _U64:
    """(n) -> (max(rounds, 1), n): `[r, i]` is the sign of the id i in round r of the hash stack; one row without one."""
    stacked = _as_ids(ids)[np.newaxis]
    if slot.modulo:
        stacked = take_modulo(stacked, slot.modulo)
    if slot.ids_are_signs:
        return stacked
    if slot.hash_stack_rounds:
        stacked = hash_stack(ids, slot.hash_stack_rounds, slot.hash_stack_size)
    return add_prefix(stacked.reshape(-1), slot.prefix, slot.prefix_bits).reshape(stacked.shape)


def _as_ids(ids: Any) -> _U64:
    """Ids in any form of docs/ids.md."""
    try:
        return ids_of("ids", ids)
    except FeatureError as error:
        raise InvalidInput(error.problem) from None
