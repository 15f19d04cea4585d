"""What docs/upgrades.md calls safe is safe, and its way back to older rows leads there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from persia.config import load_embedding_config
from persia.writers import IncrementalDumper
from tests.support.servers import EmbeddingServer

NAMES = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=2, max_size=6, unique=True)


def prefixes(directory: Path, slots: list[str], groups: dict[str, list[str]]) -> dict[str, int]:
    path = directory / "embedding_config.yml"
    config: dict[str, Any] = {"slots_config": {name: {"dim": 4} for name in slots}}
    if groups:
        config["feature_groups"] = groups
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return {name: slot.prefix for name, slot in load_embedding_config(path).slots.items()}


@given(NAMES, st.data())
def test_a_slot_at_the_end_or_in_a_group_that_exists_moves_no_other(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], data: st.DataObject
) -> None:
    directory = tmp_path_factory.getbasetemp()
    grouped = data.draw(st.lists(st.sampled_from(names), max_size=3, unique=True))
    groups = {"G": grouped} if grouped else {}
    before = prefixes(directory, names, groups)
    after = prefixes(directory, [*names, "new"], groups)
    assert {name: after[name] for name in names} == before and after["new"] == max(after.values())
    if grouped:
        shared = prefixes(directory, [*names, "new"], {"G": [*grouped, "new"]})
        assert {name: shared[name] for name in names} == before and shared["new"] == before[grouped[0]]


@given(NAMES)
def test_any_other_place_or_group_moves_what_follows(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    directory = tmp_path_factory.getbasetemp()
    before = prefixes(directory, names, {})
    for slots, groups in [
        (["new", *names], {}),
        (list(reversed(names)), {}),
        ([*names, "new"], {"G": ["new"]}),
        (names, {"G": [names[-1]]}),
    ]:
        after = prefixes(directory, slots, groups)
        assert any(after[name] != before[name] for name in names)


def test_deleted_packets_are_gone_after_a_restart_and_the_others_are_not(tmp_path: Path) -> None:
    config, packets = tmp_path / "embedding_config.yml", tmp_path / "packets"
    config.write_text(yaml.safe_dump({"slots_config": {"a": {"dim": 4}}}))
    signs = np.arange(1, 4, dtype=np.uint64)

    def drop(value: float) -> None:
        with IncrementalDumper(packets) as dumper:
            dumper.commit(signs, np.full((3, 4), value, np.float32))

    drop(1.0)
    with EmbeddingServer(tmp_path, config, incremental_dir=packets) as server:
        server.wait_ready().wait_for_packets(1)
        drop(2.0)
        drop(3.0)
        server.wait_for_packets(3)
        assert server.rows(signs, 4)[0].tolist() == np.full((3, 4), 3.0).tolist()
        server.terminate()
        for packet in sorted((packets / "s0").glob("inc_*"))[1:]:
            shutil.rmtree(packet)
        server.start()
        server.wait_ready()
        assert server.rows(signs, 4)[0].tolist() == np.full((3, 4), 1.0).tolist()
