"""Tables loaded from the real Persia's checkpoints give, for the real Persia's batches, the real Persia's tensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from persia import _core
from persia.config import load_embedding_config
from persia.routing import make_slots
from tests.support.golden import GOLDEN, arrays_of
from tests.support.routing_reference import ask, assemble, assert_within_one_ulp

CASES = [
    pytest.param(model, checkpoint, answers, path.stem, id=f"{model}-{checkpoint}-{path.stem}")
    for model in ("ctr", "mix")
    for checkpoint, answers in (("ckpt", "golden"), ("ckpt_mid", "golden_mid"))
    for path in sorted((GOLDEN / model / answers).glob("*.npz"))
]


def load_shards(checkpoint: Path, shards: int) -> Iterator[_core.Table]:
    """Every file of the checkpoint into every table; each keeps the signs that are its own."""
    for index in range(shards):
        builder = _core.TableBuilder()
        for path in sorted(checkpoint.glob("s*/*.emb")):
            builder.load_emb(path, index, shards)
        yield _core.Table(builder)


@pytest.fixture(scope="module", params=[1, 2, 3, 7], ids=lambda shards: f"{shards}-shards")
def shards(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def snapshots(shards: int) -> dict[tuple[str, str], list[_core.Snapshot]]:
    return {
        (model, checkpoint): [table.pin() for table in load_shards(GOLDEN / model / checkpoint, shards)]
        for model in ("ctr", "mix")
        for checkpoint in ("ckpt", "ckpt_mid")
    }


@pytest.mark.parametrize(("model", "checkpoint", "answers", "batch"), CASES)
def test_tensors_equal_those_of_real_persia(
    snapshots: dict[tuple[str, str], list[_core.Snapshot]], model: str, checkpoint: str, answers: str, batch: str
) -> None:
    slots = make_slots(load_embedding_config(GOLDEN / model / "embedding_config.yml"))
    decoded = _core.decode_batch((GOLDEN / model / answers / f"{batch}.bin").read_bytes())
    tables = snapshots[model, checkpoint]
    plan = _core.make_plan(decoded, slots, len(tables))
    tensors = assemble(plan, [ask(table, request)[0] for table, request in zip(tables, plan.requests, strict=True)])

    want = arrays_of(GOLDEN / model / answers / f"{batch}.npz")
    assert len(tensors) == sum(name.startswith("emb") for name in want)
    for i, tensor in enumerate(tensors):
        assert_within_one_ulp(tensor, want[f"emb{i}"])
    for i, dense in enumerate(decoded.dense):
        # Real Persia hands bools on as bytes.
        np.testing.assert_array_equal(dense.view(np.uint8) if dense.dtype == bool else dense, want[f"dense{i}"], strict=True)
