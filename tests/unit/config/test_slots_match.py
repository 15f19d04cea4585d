"""Whether two embedding configs mean the same by their slots."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from persia.config import EmbeddingConfig, Slot, SlotConfig
from persia.config.embedding_config import DefaultRowConfig
from persia.config.slots_match import facts_of, problems_text, slot_problems
from persia.signature import FeatureSignature
from tests.support.embedding_configs import MIXED, parse

CONFIG = parse(MIXED)
SLOTS = CONFIG.slots


def signature_of(slot: Slot) -> FeatureSignature:
    facts = facts_of(slot)
    return FeatureSignature(
        name=slot.name,
        dim=slot.dim,
        pooling=facts.pooling,  # type: ignore[arg-type]
        length=facts.length,
        prefix=slot.prefix,
        prefix_bits=slot.prefix_bits,
        hash_stack_rounds=slot.hash_stack_rounds,
        hash_stack_size=slot.hash_stack_size,
    )


def test_the_same_slots_match_however_they_are_written() -> None:
    assert slot_problems(SLOTS.values(), SLOTS) == []
    assert slot_problems(map(signature_of, SLOTS.values()), SLOTS) == []
    assert {facts_of(slot).pooling for slot in SLOTS.values()} == {"sum", "sqrtn", "raw"}


def test_more_slots_than_expected_are_no_problem() -> None:
    assert slot_problems([SLOTS["bought"]], SLOTS) == []


def test_default_rows_are_compared_to_their_last_digit() -> None:
    ours = msgspec.structs.replace(SLOTS["bought"], default_value=0.12345671)
    its = msgspec.structs.replace(ours, default_value=0.12345672)
    assert slot_problems([ours], {"bought": its}) == ["feature 'bought': expected default_row of 0.12345671, got of 0.12345672"]


@pytest.mark.parametrize("value", [1, 1.0])
def test_a_default_row_of_a_whole_number_is_one_of_a_float(value: float) -> None:
    slots = {"f": SlotConfig(dim=2, default_row=DefaultRowConfig(value=value))}
    written = parse("slots_config: {f: {dim: 2, default_row: {value: 1}}}")
    assert EmbeddingConfig(slots_config=slots).fingerprint == written.fingerprint
    assert slot_problems(EmbeddingConfig(slots_config=slots).slots.values(), written.slots) == []


def test_a_missing_slot_is_named() -> None:
    have = {name: slot for name, slot in SLOTS.items() if name != "bought"}
    assert slot_problems(SLOTS.values(), have) == [
        "feature 'bought': expected a slot of this name, got an embedding config without one"
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("dim: 16", "dim: 15", "feature 'bought': expected dim 16, got 15"),
        ("sqrt_scaling: true", "sqrt_scaling: false", "feature 'bought': expected pooling sqrtn, got sum"),
        ("sample_fixed_size: 5", "sample_fixed_size: 6", "expected length 5, got 6"),
        ("embedding_summation: false", "embedding_summation: true", "expected pooling raw, got sum"),
        ("embedding_size: 500", "embedding_size: 501", "expected hash_stack_size 500, got 501"),
        ("prefix_bit: 12", "prefix_bit: 13", "expected prefix_bits 12, got 13"),
    ],
)
def test_both_values_are_said(old: str, new: str, problem: str) -> None:
    assert MIXED.count(old)
    assert problem in problems_text(slot_problems(SLOTS.values(), parse(MIXED.replace(old, new)).slots))


def test_where_only_prefixes_differ_it_says_what_makes_that() -> None:
    moved = parse(MIXED.replace("feature_groups:", "feature_groups:\n  first:\n  - bought"))
    problems = slot_problems([SLOTS["user_id"]], moved.slots)
    assert problems == [
        "feature 'user_id': expected the prefix of group 2, got that of group 3 (a group was inserted, removed or moved before "
        "it, so other rows would be found)"
    ]


def test_the_length_of_a_summed_slot_does_not_matter_and_keep_only_where_both_say_it() -> None:
    bought = SLOTS["bought"]
    assert slot_problems([msgspec.structs.replace(bought, sample_fixed_size=77)], SLOTS) == []
    raw = next(slot for slot in SLOTS.values() if facts_of(slot).pooling == "raw")
    assert slot_problems([signature_of(raw)], {raw.name: raw}) == []


def test_many_problems_are_cut_short() -> None:
    problems = [f"p{i}" for i in range(7)]
    assert problems_text(problems) == "p0; p1; p2; p3; p4; and 2 features more"
    assert problems_text(problems[:5]) == "p0; p1; p2; p3; p4"


def test_fingerprints_say_the_same_as_a_comparison(tmp_path: Path) -> None:
    for text in (MIXED, MIXED.replace("dim: 16", "dim: 15"), MIXED.replace("sample_fixed_size: 5", "sample_fixed_size: 6")):
        other = parse(text)
        assert (other.fingerprint == CONFIG.fingerprint) == (not slot_problems(SLOTS.values(), other.slots))
        assert other.fingerprint_id == int(other.fingerprint[:16], 16)
