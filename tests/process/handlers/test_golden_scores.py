"""Scores of real Persia for each model and checkpoint that it left, by handlers that ask embedding servers themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.golden import GOLDEN, arrays_of
from tests.support.in_process import LocalDeployment
from tests.support.torchserves import PERSIA_HANDLER, TorchServeRun, assert_close, make_archive

# The checkpoint, and what it answers. golden/mix of the last one: test_persia_handler.
CASES = [("ctr", "ckpt", "golden"), ("ctr", "ckpt_mid", "golden_mid"), ("mix", "ckpt_mid", "golden_mid")]
SCORED = [
    pytest.param(model, checkpoint, path, id=f"{model}-{checkpoint}-{path.stem}")
    for model, checkpoint, answers in CASES
    for path in sorted((GOLDEN / model / answers).glob("*.npz"))
    if "out" in arrays_of(path)
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeRun]:
    directory = tmp_path_factory.mktemp("served")
    models = []
    with ExitStack() as stack:
        for model, checkpoint, _ in CASES:
            shards = stack.enter_context(LocalDeployment(GOLDEN / model, 2, checkpoint))
            settings = {"addresses": shards.addresses, "embedding_config": str(shards.embedding_config)}
            dense = GOLDEN / model / checkpoint / "jit_dense.pt"
            name = f"{model}-{checkpoint}"
            models.append(make_archive(directory / "store", name, handler=PERSIA_HANDLER, model=dense, persia=settings))
        with TorchServeRun(directory, directory / "store", ["--models", ",".join(models)]) as run:
            yield run.wait_ready()


@pytest.mark.parametrize(("model", "checkpoint", "path"), SCORED)
def test_scores_are_those_of_real_persia(served: TorchServeRun, model: str, checkpoint: str, path: Path) -> None:
    with served.client(f"{model}-{checkpoint}") as client:
        assert_close(client.predict(path.with_suffix(".bin").read_bytes()), arrays_of(path)["out"])
