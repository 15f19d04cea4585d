"""Whether two embedding configs mean the same by their slots, told slot by slot. Pure: it compares, and knows no server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

__all__ = ["SlotFacts", "SlotLike", "facts_of", "hashed_facts", "problems_text", "slot_problems"]

_SHOWN_PROBLEMS = 5


class SlotLike(Protocol):
    """A slot by the facts that decide what its tensors hold: persia.config.Slot, persia.signature.FeatureSignature.

    The length of raw slots is `length`, or `sample_fixed_size`.
    """

    @property
    def name(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def pooling(self) -> str: ...
    @property
    def weighted(self) -> bool: ...
    @property
    def keep(self) -> str | None: ...
    @property
    def prefix(self) -> int: ...
    @property
    def prefix_bits(self) -> int: ...
    @property
    def hash_stack_rounds(self) -> int: ...
    @property
    def hash_stack_size(self) -> int: ...
    @property
    def output(self) -> str: ...
    @property
    def modulo(self) -> int: ...
    @property
    def ids_are_signs(self) -> bool: ...
    @property
    def default_value(self) -> float | None: ...
    @property
    def default_id(self) -> int | None: ...


class SlotFacts(NamedTuple):
    """All that decides what a slot's tensors hold, in one form. `length` and `keep`: None where the slot is not raw."""

    name: str
    dim: int
    pooling: str
    weighted: bool
    length: int | None
    keep: str | None
    prefix: int
    prefix_bits: int
    hash_stack_rounds: int
    hash_stack_size: int
    output: str = "f16"
    modulo: int = 0
    ids_are_signs: bool = False
    default_value: float | None = None
    default_id: int | None = None


# What a release before these facts knows of a slot.
_FIRST_FACTS = SlotFacts._fields.index("output")


def hashed_facts(facts: SlotFacts) -> tuple[Any, ...]:
    """What a fingerprint is made of: of a slot that an older release can have, what that release makes it of."""
    usual = tuple(SlotFacts._field_defaults.values())
    return tuple(facts[:_FIRST_FACTS]) if tuple(facts[_FIRST_FACTS:]) == usual else tuple(facts)


def facts_of(slot: SlotLike) -> SlotFacts:
    """The facts, whichever kind of slot it is. `keep` is None also where the slot does not say it."""
    facts: Any = slot
    raw = slot.pooling == "raw"
    length = facts.length if hasattr(facts, "length") else facts.sample_fixed_size
    return SlotFacts(
        slot.name,
        slot.dim,
        slot.pooling,
        slot.weighted,
        length if raw else None,
        slot.keep if raw else None,
        slot.prefix,
        slot.prefix_bits,
        slot.hash_stack_rounds,
        slot.hash_stack_size if slot.hash_stack_rounds else 0,
        slot.output,
        slot.modulo,
        slot.ids_are_signs,
        slot.default_value,
        slot.default_id,
    )


def slot_problems(expected: Iterable[SlotLike], have: Mapping[str, SlotLike]) -> list[str]:
    """What each expected slot differs in, with both values; first the slots that are missing. More slots are no problem."""
    missing, different = [], []
    moved = False
    for slot in expected:
        got = have.get(slot.name)
        if got is None:
            missing.append(f"feature '{slot.name}': expected a slot of this name, got an embedding config without one")
            continue
        ours, its = facts_of(slot), facts_of(got)
        differences = _differences(ours, its)
        numbers = [facts.prefix >> (64 - facts.prefix_bits) for facts in (ours, its)]
        if numbers[0] != numbers[1] and ours.ids_are_signs == its.ids_are_signs:
            text = f"expected the prefix of group {numbers[0]}, got that of group {numbers[1]}"
            if not differences and not moved:  # said once, for it is so for all slots after that place
                text += " (a group was inserted, removed or moved before it, so other rows would be found)"
                moved = True
            differences.append(text)
        if differences:
            different.append(f"feature '{slot.name}': {'; '.join(differences)}")
    return missing + different


def problems_text(problems: list[str]) -> str:
    """The first few of them, and how many there are beside these."""
    more = len(problems) - _SHOWN_PROBLEMS
    return "; ".join(problems[:_SHOWN_PROBLEMS]) + (f"; and {more} features more" if more > 0 else "")


def _differences(expected: SlotFacts, got: SlotFacts) -> list[str]:
    """But for the prefix."""
    return [
        f"expected {name} {ours}, got {its}"
        for name, ours, its in (
            ("dim", expected.dim, got.dim),
            ("pooling", expected.pooling, got.pooling),
            ("weighted", _yes(expected.weighted), _yes(got.weighted)),
            ("length", expected.length, got.length),
            ("keep", expected.keep or got.keep, got.keep or expected.keep),  # where one does not say it, nothing is compared
            ("prefix_bits", expected.prefix_bits, got.prefix_bits),
            ("hash_stack_rounds", expected.hash_stack_rounds, got.hash_stack_rounds),
            ("hash_stack_size", expected.hash_stack_size, got.hash_stack_size),
            ("output", expected.output, got.output),
            ("modulo", expected.modulo, got.modulo),
            ("ids_are_signs", _yes(expected.ids_are_signs), _yes(got.ids_are_signs)),
            ("default_row", _default_row(expected), _default_row(got)),
        )
        if ours != its and None not in (ours, its)
    ]


def _default_row(facts: SlotFacts) -> str:
    if facts.default_id is not None:
        return f"of id {facts.default_id}"
    return "of zeros" if facts.default_value is None else f"of {facts.default_value}"


def _yes(value: bool) -> str:
    """As it is written in messages."""
    return "yes" if value else "no"
