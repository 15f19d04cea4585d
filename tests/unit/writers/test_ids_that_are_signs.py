"""Writing rows of slots with `ids_are_signs`: whatever number an id is, it leads to no row of another feature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from persia.config import EmbeddingConfig, SlotConfig
from persia.errors import FeatureError
from persia.writers import IncrementalDumper, write_checkpoint
from tests.support.written import read_checkpoint

CONFIG = EmbeddingConfig(slots_config={"keyed": SlotConfig(dim=2, ids_are_signs=True), "plain": SlotConfig(dim=2)})
ROW = np.ones((1, 2), np.float32)


@pytest.mark.parametrize("id", [1 << 56, (1 << 57) - 1])
def test_an_id_that_would_be_a_sign_of_a_group_is_refused(id: int, tmp_path: Path) -> None:
    message = f"'keyed': the id {id} would be a sign of group 0 .* its row would replace one of that group"
    with pytest.raises(FeatureError, match=message):
        write_checkpoint(tmp_path / "c", [("keyed", [5, id], np.ones((2, 2), np.float32))], shards=1, embedding_config=CONFIG)
    with IncrementalDumper(tmp_path / "p", embedding_config=CONFIG) as dumper:
        with pytest.raises(FeatureError, match=message):
            dumper.commit_feature("keyed", [id], ROW)
        with pytest.raises(FeatureError, match=message):
            dumper.delete_feature("keyed", [id])


def test_any_other_id_is_the_sign_of_its_row_by_name_and_without(tmp_path: Path) -> None:
    signs = [5, (1 << 56) - 1, 1 << 57, 2**64 - 1]
    write_checkpoint(tmp_path / "c", [("keyed", [sign], ROW) for sign in signs], shards=1, embedding_config=CONFIG)
    by_sign = np.array(signs, np.uint64), np.ones((4, 2), np.float32)
    write_checkpoint(tmp_path / "d", [by_sign], shards=1, embedding_config=CONFIG)
    assert read_checkpoint(tmp_path / "c") == read_checkpoint(tmp_path / "d") == dict.fromkeys(signs, ROW.tobytes())
