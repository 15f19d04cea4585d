"""Scores of real Persia for each model and checkpoint that it left, by handlers that ask embedding servers themselves."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from persia.handlers.persia_handler import PersiaHandler
from tests.support.golden import GOLDEN, arrays_of
from tests.support.handlers_here import HandlerHere
from tests.support.in_process import LocalDeployment
from tests.support.servers import PATIENCE
from tests.support.torchserves import assert_close

# The checkpoint, and what it answers. golden/mix of the last one: test_persia_handler, through TorchServe.
CASES = [("ctr", "ckpt", "golden"), ("ctr", "ckpt_mid", "golden_mid"), ("mix", "ckpt_mid", "golden_mid")]
SCORED = [
    pytest.param(model, checkpoint, path, id=f"{model}-{checkpoint}-{path.stem}")
    for model, checkpoint, answers in CASES
    for path in sorted((GOLDEN / model / answers).glob("*.npz"))
    if "out" in arrays_of(path)
]

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.:DeprecationWarning")


@pytest.fixture(scope="module")
def handlers() -> Iterator[Mapping[tuple[str, str], HandlerHere]]:
    """By model and checkpoint."""
    level, threads = logging.getLogger().level, torch.get_num_threads()
    made = {}
    with ExitStack() as stack:
        stack.callback(logging.getLogger().setLevel, level)
        stack.callback(torch.set_num_threads, threads)
        for model, checkpoint, _ in CASES:
            shards = stack.enter_context(LocalDeployment(GOLDEN / model, 2, checkpoint))
            settings = {"addresses": shards.addresses, "embedding_config": str(shards.embedding_config)}
            here = HandlerHere(PersiaHandler, GOLDEN / model / checkpoint, "jit_dense.pt", {"persia": settings})
            stack.callback(here.handler.threads.shutdown)
            stack.callback(here.handler.persia_context.close)
            here.handler.persia_context.wait_for_serving(PATIENCE)
            made[model, checkpoint] = here
        yield made


@pytest.mark.parametrize(("model", "checkpoint", "path"), SCORED)
def test_scores_are_those_of_real_persia(
    handlers: Mapping[tuple[str, str], HandlerHere], model: str, checkpoint: str, path: Path
) -> None:
    (answer,) = handlers[model, checkpoint].answer({"batch": path.with_suffix(".bin").read_bytes()})
    assert_close(json.loads(answer), arrays_of(path)["out"])
