"""A model that AOTInductor has compiled, in a worker of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.model_servers import ModelServerRun
from tests.support.open_inference import infer, tensor
from tests.support.tensor_models import save_compiled

pytestmark = pytest.mark.whole_way


def test_a_model_of_aotinductor_answers_from_its_worker(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    save_compiled(store / "compiled.pt2")
    inputs = [tensor("input0", "FP32", [2, 2], [1, 2, 3, 4]), tensor("input1", "FP32", [2, 1], [1, 10])]
    with ModelServerRun(tmp_path / "run", store, "--models", "compiled.pt2") as server:
        server.wait_ready()
        answer = infer(server, "compiled", {"inputs": inputs})
    assert answer.status == 200, answer.body
    assert [5.0, 110.0] in [one["data"] for one in answer.json["outputs"]]
