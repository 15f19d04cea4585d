"""Ways to get wrong scores (docs/wrong-scores.md): the embedding config is not the one that the table was written with."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from persia.errors import FeatureError
from tests.support.checks import CONFIG, Content, Files, changed, parse, reordered, table_ids

NAMES = list(CONFIG["slots_config"])


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.write()
    return files


def told(files: Files, config: Content, pattern: str) -> None:
    """Asserts that lookups by this config give something else than by the right one, and that the check fails and says why."""
    files.write_config(config)
    wrong, right = files.embeddings(), files.embeddings(parse(CONFIG))
    assert (
        any(not np.array_equal(wrong[name], right[name]) for name in right.keys() & wrong.keys()) or wrong.keys() < right.keys()
    )
    checked = files.check("--middleware-port", "0")
    assert checked.code == 2
    assert any(re.search(pattern, text) for text in checked.of("fail")), checked.of("fail")


def test_way_06_slots_in_another_order(files: Files) -> None:
    told(
        files, reordered("item", "user", *NAMES[2:]), r"^sample user: 0 of \d+ distinct ids .*100% have one as ids of item -> "
    )


def test_way_07_a_slot_inserted_before_others(files: Files) -> None:
    told(files, reordered("new", *NAMES), r"^sample user: 0 of .*as ids of new -> .* was a slot or group inserted")


def test_way_08_a_slot_removed_before_others(files: Files) -> None:
    ids = files.ids()
    files.write_sample({name: ids[name] for name in NAMES[1:]})
    told(files, reordered(*NAMES[1:]), r"^sample city: 0 of .*a group that the config does not have")


def test_way_09_a_group_that_was_not_there_in_training(files: Files) -> None:
    groups = {"history_and_item": ["history", "item"]}  # groups are numbered before slots
    told(files, {**CONFIG, "feature_groups": groups}, r"^sample item: 0 of .* -> ")


def test_way_10_groups_in_another_order(files: Files) -> None:
    groups = {"b": ["item"], "a": ["user"], **{f"of_{name}": [name] for name in NAMES[2:]}}
    told(files, {**CONFIG, "feature_groups": groups}, r"^sample item: 0 of .*as ids of user -> ")


@pytest.mark.parametrize("bits", [4, 12, 16])
def test_way_11_other_prefix_bits(files: Files, bits: int) -> None:
    told(
        files,
        {**CONFIG, "feature_index_prefix_bit": bits},
        r"^sample user: 0 of .*with 8 prefix bits -> set feature_index_prefix_bit to 8",
    )
    told(files, {**CONFIG, "feature_index_prefix_bit": bits}, r"^rows without a feature: .* -> ")


def test_way_12_another_dim(files: Files) -> None:
    told(
        files,
        changed(user={"dim": 8}),
        r"^rows user: expected rows of dim 8, got 200 rows of dim 4: lookups of these rows give zeros",
    )


@pytest.mark.parametrize(("rounds", "size"), [(2, 40), (2, 100), (1, 50)])
def test_way_13_another_hash_stack(files: Files, rounds: int, size: int) -> None:
    stack = {"hash_stack_config": {"hash_stack_rounds": rounds, "embedding_size": size}}
    told(
        files, changed(query=stack), r"^rows hash stack of query: .* -> set hash_stack_rounds and embedding_size as in training"
    )


def test_way_14_a_slot_with_another_name(files: Files) -> None:
    files.write_config(reordered("users", *NAMES[1:]))
    checked = files.check("--middleware-port", "0")
    assert checked.code == 2
    assert any("sample user: the embedding config has no such feature -> is it users?" in text for text in checked.of("fail"))
    with pytest.raises(FeatureError, match="user"):  # as a lookup says
        files.embeddings()


def test_way_15_the_table_of_another_model(files: Files) -> None:
    files.write_table({name: ids + np.uint64(1 << 45) for name, ids in table_ids().items()})
    checked = files.check("--middleware-port", "0")
    assert checked.code == 2
    assert any(re.search(r"^sample user: 0 of \d+ distinct ids have a row", text) for text in checked.of("fail"))
