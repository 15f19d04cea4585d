"""embedding_config.yml: slots, groups and prefixes, earlier generations."""

import copy
import json
import pickle
import re
import warnings
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persia.config import EmbeddingConfig, HashStackConfig, SlotConfig, load_embedding_config
from persia.errors import ConfigError
from tests.support.embedding_configs import FIRST, MIXED, PER_SLOT_CAPACITY, TUTORIAL, error_of, parse, parse_old
from tests.support.places import ROOT


def test_the_example_holds_only_current_names() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = load_embedding_config(ROOT / "examples" / "embedding_config.yml")
    assert [slot.group_number for slot in config.slots.values()] == [1, 0, 0, 2]


def test_groups_come_first_then_the_other_slots_in_order() -> None:
    slots = parse(MIXED).slots
    assert list(slots) == ["user_id", "clicked", "bought", "query", "seen"]
    assert {name: (slot.group, slot.group_number) for name, slot in slots.items()} == {
        "user_id": ("user_id", 1),
        "clicked": ("items", 0),
        "bought": ("bought", 2),
        "query": ("query", 3),
        "seen": ("items", 0),
    }
    assert {name: slot.prefix for name, slot in slots.items()} == {
        "user_id": 2 << 52,
        "clicked": 1 << 52,
        "bought": 3 << 52,
        "query": 4 << 52,
        "seen": 1 << 52,
    }


def test_slots_hold_their_settings_and_defaults() -> None:
    slots = parse(MIXED).slots
    clicked, bought, query = slots["clicked"], slots["bought"], slots["query"]
    assert (clicked.embedding_summation, clicked.sample_fixed_size) == (False, 5)
    assert (bought.dim, bought.sqrt_scaling, bought.embedding_summation, bought.sample_fixed_size) == (16, True, True, 10)
    assert (bought.hash_stack_rounds, bought.hash_stack_size, bought.prefix_bits) == (0, 0, 12)
    assert (query.hash_stack_rounds, query.hash_stack_size, query.sqrt_scaling) == (2, 500, False)


def test_the_default_prefix_has_8_bits() -> None:
    assert parse("slots_config: {a: {dim: 1}}").slots["a"].prefix == 1 << 56


def test_names_stay_as_written() -> None:
    config = parse(
        "{slots_config: {007: {dim: 1}, on: {dim: 1}, null: {dim: 1}, 'a.b c': {dim: 1}}, feature_groups: {1: [on, 007]}}"
    )
    assert list(config.slots) == ["007", "on", "null", "a.b c"]
    assert config.slots["007"].group == "1"


def test_an_empty_group_keeps_its_number() -> None:
    assert parse("{slots_config: {a: {dim: 1}}, feature_groups: {g: []}}").slots["a"].prefix == 2 << 56


def test_groups_up_to_the_last_prefix() -> None:
    slots = "{" + ", ".join(f"s{i}: {{dim: 1}}" for i in range(255)) + "}"
    assert parse(f"slots_config: {slots}").slots["s254"].prefix == 255 << 56
    more = slots[:-1] + ", one_more: {dim: 1}}"
    assert error_of(f"slots_config: {more}") == (
        "8 bits have room for 255 groups, got 256: at least 9 bits are needed - at `$.feature_index_prefix_bit`"
    )
    assert parse(f"{{feature_index_prefix_bit: 9, slots_config: {more}}}").slots["one_more"].prefix == 256 << 55


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 10), st.integers(6, 63))
def test_prefixes_by_number(slots: int, groups: int, bits: int) -> None:
    names = [f"s{i}" for i in range(slots)]
    members = {f"g{i}": tuple(names[i::groups][:2]) for i in range(groups)}
    config = EmbeddingConfig(
        feature_index_prefix_bit=bits, slots_config={name: SlotConfig(dim=1) for name in names}, feature_groups=members
    )
    order = [*members.values()]
    order += [(name,) for name in names if not any(name in group for group in order)]
    for number, group in enumerate(order):
        for name in group:
            assert config.slots[name].prefix == (number + 1) * 2 ** (64 - bits) < 2**64


def test_tutorial() -> None:
    config, notes = parse_old(TUTORIAL)
    assert {name: slot.group_number for name, slot in config.slots.items()} == {"workclass": 0, "education": 1, "race": 0}
    assert notes == ["e.yml: old key names: `$.slot_config` is now `slots_config`"]


def test_first_generation() -> None:
    config, notes = parse_old(FIRST)
    assert config.slots["feature2"].hash_stack_size == 4_000_000
    assert config.slots["feature1"].sample_fixed_size == 30
    assert notes[0] == "e.yml: old key names: `$.slot_config` is now `slots_config`"
    assert re.findall(r"`\$\.(\S+)`", notes[1]) == [
        "forward_buffer_size",
        "target_config",
        "slot_config.feature1.is_pid",
        "slot_config.feature1.is_uid",
        "slot_config.feature1.index_prefix",
    ]
    assert len(notes) == 2


def test_slot_configs_and_capacity_per_slot() -> None:
    assert parse_old("slot_configs: {a: {dim: 3}}")[0].slots["a"].dim == 3
    config, notes = parse_old(PER_SLOT_CAPACITY)
    assert config.slots["a"].dim == 8
    assert "`$.slots_config.a.capacity` (the limit is one per server" in notes[0]


@pytest.mark.parametrize(
    ("groups", "warned"),
    [("{1: [a], 2: [b]}", False), ("{2: [a], 1: [b]}", True), ("{1: [a]}", True), ("{g: [a]}", False), ("{}", False)],
)
def test_groups_named_by_numbers(groups: str, warned: bool) -> None:
    _, notes = parse_old(f"{{slot_config: {{a: {{dim: 1}}, b: {{dim: 1}}}}, feature_groups: {groups}}}")
    assert any("a group named by a number" in note for note in notes) is warned
    parse(f"{{slots_config: {{a: {{dim: 1}}, b: {{dim: 1}}}}, feature_groups: {groups}}}")


def test_a_group_may_have_the_name_of_a_slot_in_a_group() -> None:
    config = parse("{slots_config: {a: {dim: 1}, b: {dim: 1}}, feature_groups: {a: [b, a]}}")
    assert {slot.prefix for slot in config.slots.values()} == {1 << 56}


def test_which_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "e.yml"
    path.write_text("slots_config: {a: {dim: 1}}")
    assert load_embedding_config(environ={"PERSIA_EMBEDDING_CONFIG": str(path)}) == load_embedding_config(path)
    with pytest.raises(ConfigError, match=r"name one with --embedding-config or \$PERSIA_EMBEDDING_CONFIG"):
        load_embedding_config(environ={"PERSIA_GLOBAL_CONFIG": str(path)})
    with pytest.raises(FileNotFoundError, match=r"the embedding config, chosen by \$PERSIA_EMBEDDING_CONFIG: .*none.yml"):
        load_embedding_config(environ={"PERSIA_EMBEDDING_CONFIG": str(tmp_path / "none.yml")})


def test_configs_are_frozen_and_can_be_copied() -> None:
    config = parse(MIXED)
    with pytest.raises(AttributeError):
        config.feature_index_prefix_bit = 9  # type: ignore[misc]
    with pytest.raises(AttributeError):
        config.slots["bought"].prefix = 0  # type: ignore[misc]
    for other in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert other == config
        assert other.slots == config.slots


def test_the_fingerprint_changes_with_what_decides_an_answer_only() -> None:
    one = parse(MIXED)
    same = [
        MIXED.replace("items:", "goods:"),
        MIXED.replace("  - seen\n  - clicked\n", "  - clicked\n  - seen\n"),
    ]
    other = [
        MIXED.replace("prefix_bit: 12", "prefix_bit: 13"),
        MIXED.replace("dim: 16", "dim: 15"),
        MIXED.replace("sqrt_scaling: true", "sqrt_scaling: false"),
        MIXED.replace("sample_fixed_size: 5", "sample_fixed_size: 6"),
        MIXED.replace("embedding_summation: false", "embedding_summation: true"),
        MIXED.replace("embedding_size: 500", "embedding_size: 501"),
        MIXED.replace("  - seen\n", ""),
        MIXED.replace("  bought:\n    dim: 16\n    sqrt_scaling: true\n", ""),
    ]
    assert {parse(text).fingerprint for text in same} == {one.fingerprint}
    assert len({one.fingerprint, *(parse(text).fingerprint for text in other)}) == len(other) + 1
    assert one.fingerprint == "6c2d266246c998ab0358ee6a039dd920"


def test_written_in_python() -> None:
    config = EmbeddingConfig(slots_config={"a": SlotConfig(dim=4, hash_stack_config=HashStackConfig(embedding_size=9))})
    assert (config.slots["a"].prefix, config.slots["a"].hash_stack_size) == (1 << 56, 0)


@pytest.mark.parametrize(
    ("keys", "pooling", "summation", "sqrt"),
    [
        ("", "sum", True, False),
        ("pooling: sum", "sum", True, False),
        ("pooling: mean", "mean", True, False),
        ("pooling: sqrtn", "sqrtn", True, True),
        ("pooling: raw", "raw", False, False),
        ("embedding_summation: false", "raw", False, False),
        ("sqrt_scaling: true", "sqrtn", True, True),
        ("embedding_summation: true, sqrt_scaling: false", "sum", True, False),
        ("embedding_summation: false, sqrt_scaling: true", "raw", False, True),
        ("pooling: raw, embedding_summation: false, sqrt_scaling: true", "raw", False, True),
        ("pooling: sqrtn, embedding_summation: true, sqrt_scaling: true", "sqrtn", True, True),
        ("pooling: mean, embedding_summation: true, sqrt_scaling: false", "mean", True, False),
    ],
)
def test_pooling_and_its_old_names(keys: str, pooling: str, summation: bool, sqrt: bool) -> None:
    slot = parse(f"slots_config: {{a: {{dim: 4, {keys}}}}}").slots["a"]
    assert (slot.pooling, slot.embedding_summation, slot.sqrt_scaling) == (pooling, summation, sqrt)
    assert (slot.weighted, slot.keep) == (False, "first")


@pytest.mark.parametrize("pooling", ["sum", "mean", "sqrtn"])
def test_pooled_slots_may_have_weights(pooling: str) -> None:
    assert parse(f"slots_config: {{a: {{dim: 4, pooling: {pooling}, weighted: true}}}}").slots["a"].weighted


def test_raw_slots_may_keep_their_last_ids() -> None:
    assert parse("slots_config: {a: {dim: 4, pooling: raw, keep: last}}").slots["a"].keep == "last"


def test_a_config_without_newer_keys_is_sent_as_older_releases_read_it() -> None:
    sent = json.loads(msgspec.json.encode(parse(MIXED)))
    assert sent["slots_config"]["clicked"] == {"dim": 8, "sample_fixed_size": 5, "embedding_summation": False}
    for text in (MIXED, "slots_config: {a: {dim: 4, pooling: mean, weighted: true}}"):
        assert msgspec.json.decode(msgspec.json.encode(parse(text)), type=EmbeddingConfig).slots == parse(text).slots
