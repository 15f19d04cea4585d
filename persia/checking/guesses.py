"""Why the ids of a sample may have no rows: each guess is another way to get from ids to signs, which the table can confirm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt

from persia.checking.scan import Rows
from persia.config import EmbeddingConfig, Slot
from persia.signs import SignRule, add_prefix, farmhash64, signs_of

__all__ = ["PROBES", "Guess", "best_guess", "guesses_of", "looks_like_floats", "looks_like_hashes", "share_of_signs"]

PROBES = 200  # ids of a feature that are tried in all other ways
_U64 = npt.NDArray[np.uint64]
_MANY = 0.5  # of the probes must have a row for a guess to be told
_PROOF = 5  # so many hits does a guess need where a part of the table was read
_FLOAT_BITS = 53


@dataclass(frozen=True)
class Guess:
    """`signs` (n, probes): one for each probe and round. `text` completes `N of M have a row ...`; `advice` says what to do."""

    text: str
    advice: str
    signs: _U64


def guesses_of(slot: Slot, config: EmbeddingConfig, probes: _U64) -> list[Guess]:
    """Every other way, for some ids of a feature, in the order of how likely they are."""
    return [
        *_as_signs(slot, probes),
        *_of_other_groups(slot, config, probes),
        *_of_other_bits(slot, probes),
        *_altered(slot, probes),
    ]


def best_guess(guesses: Sequence[Guess], found: Rows, own: float, read: float) -> tuple[Guess, float] | None:
    """The first of those under which the most probes have rows, and their share, if it explains far more than `own` does.

    read: the share of the table that was read. Shares are of the whole table; in a part, a few hits prove nothing.
    """
    shares = [_share_of_all(guess.signs, found, read) for guess in guesses]
    best = max(shares, default=0.0)
    if best < _MANY or best < 2 * own:
        return None
    return guesses[shares.index(best)], best


def _share_of_all(signs: _U64, found: Rows, read: float) -> float:
    seen = share_of_signs(signs, found)
    if read < 1 and round(seen * signs.shape[1]) < _PROOF:
        return 0.0
    return min(seen / read ** len(signs), 1.0) if seen and read else seen


def share_of_signs(signs: _U64, found: Rows) -> float:
    """The share of ids all of whose signs (rounds, ids) have a row."""
    return float(found.have(signs).all(axis=0).mean()) if signs.shape[1] else 0.0


def looks_like_hashes(ids: _U64) -> bool:
    """Whether the ids are spread over all 64 bits."""
    return len(ids) >= 8 and bool(np.median(ids) > np.uint64(1 << 61)) and len(np.unique(ids >> np.uint64(60))) > 4


def looks_like_floats(ids: _U64) -> bool:
    """Whether ids beyond 2^53 have all lost the bits that a float64 has no room for."""
    large = ids[ids >= np.uint64(1 << (_FLOAT_BITS + 2))]
    return len(large) >= 8 and not np.any(large & np.uint64(7))


def _as_signs(slot: Slot, probes: _U64) -> Iterator[Guess]:
    if slot.prefix and not slot.hash_stack_rounds:
        by_name = "write rows with the feature's name and the embedding config, or with persia.signs.signs_of(ids, slot)"
        yield Guess("with the ids themselves as signs: the table was written with ids as signs", by_name, probes[None])
        twice = add_prefix(add_prefix(probes, slot.prefix, slot.prefix_bits), slot.prefix, slot.prefix_bits)
        yield Guess("with the prefix added twice: the table was written with signs in the place of ids", by_name, twice[None])


def _of_other_groups(slot: Slot, config: EmbeddingConfig, probes: _U64) -> Iterator[Guess]:
    own = {name for name, other in config.slots.items() if other.group == slot.group}
    for other in config.slots.values():
        if other.name in own or other.hash_stack_rounds:  # to the rows of a hash stack every id leads
            continue
        advice = (
            f"are {slot.name} and {other.name} swapped in the request, or was a slot or group inserted, removed or moved in "
            "the embedding config since training?"
        )
        yield Guess(f"as ids of {other.name}", advice, signs_of(probes, _rule(other, slot)))
    if slot.ids_are_signs:
        return
    beyond = SimpleNamespace(prefix=(len(_groups(config)) + 1) << (64 - slot.prefix_bits))
    if beyond.prefix >> 64 == 0:
        advice = "use the embedding config of the training: this one lacks a group, or has others"
        yield Guess("under the prefix of a group that the config does not have", advice, signs_of(probes, _rule(beyond, slot)))


def _of_other_bits(slot: Slot, probes: _U64) -> Iterator[Guess]:
    for bits in () if slot.ids_are_signs else (8, 12, 16, 10, 4, 6, 14, 20, 24, 32):
        prefix = (slot.group_number + 1) << (64 - bits)
        if bits != slot.prefix_bits and prefix >> 64 == 0:
            rule = SimpleNamespace(prefix=prefix, prefix_bits=bits)
            yield Guess(
                f"with {bits} prefix bits",
                f"set feature_index_prefix_bit to {bits}, as in training",
                signs_of(probes, _rule(rule, slot)),
            )


def _altered(slot: Slot, probes: _U64) -> Iterator[Guess]:
    """Ids that were made in another way before they became signs."""
    low = probes & np.uint64(0xFFFF_FFFF)
    ways = [
        ("after FarmHash of the id", "hash ids before they are sent as in training, or not at all", farmhash64(probes)),
        ("with the lower 32 bits of the ids", "the table's ids were cut to 32 bits: cut those of requests, too", low),
        (
            "with the lower 32 bits as a signed number",
            "the table's ids went through a signed 32-bit number: send them in the same way",
            low.astype(np.uint32).view(np.int32).astype(np.int64).view(np.uint64),
        ),
        (
            "with the sign dropped",
            "send negative ids as they are: the table has their positive values",
            (~probes) + np.uint64(1),
        ),
        ("with the bytes reversed", "send ids as little-endian numbers", probes.byteswap()),
    ]
    for text, advice, ids in ways:
        yield Guess(text, advice, signs_of(np.ascontiguousarray(ids), slot))
    if slot.hash_stack_rounds:
        plain = add_prefix(probes, slot.prefix, slot.prefix_bits)
        yield Guess(
            "without the hash stack", "take hash_stack_config out of the slot: the table has no hashed ids", plain[None]
        )
    as_float = probes.astype(np.float64)
    rounded = np.where(as_float < 2.0**64, as_float, 0).astype(np.uint64)
    if not np.array_equal(rounded, probes):
        advice = "send the ids that the table has: they went through a float64, which has no room for more than 2^53"
        yield Guess("after a way through floats", advice, signs_of(rounded, slot))


def _rule(changed: object, slot: Slot) -> SignRule:
    """The rule of a slot, but with some other facts."""
    names = ("hash_stack_rounds", "hash_stack_size", "prefix", "prefix_bits", "modulo", "ids_are_signs")
    rule: SignRule = SimpleNamespace(**{name: getattr(changed, name, getattr(slot, name)) for name in names})
    return rule


def _groups(config: EmbeddingConfig) -> set[str]:
    return {slot.group for slot in config.slots.values() if not slot.ids_are_signs}
