"""Models without any handler code: TorchScript, torch.export and ONNX, asked with tensors by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from tests.support.model_servers import ModelServerRun, ask
from tests.support.open_inference import Grpc, infer, tensor
from tests.support.tensor_models import (
    Optionals,
    make_bare_mar,
    save_bf16_onnx,
    save_exported,
    save_onnx,
    save_scripted,
)

pytestmark = pytest.mark.whole_way

DECLARED = """
open_inference:
  inputs:
    - {name: x, datatype: FP32, shape: [-1, 2]}
    - {name: scale, datatype: FP32, shape: [-1, 1]}
  outputs:
    - {name: scores, datatype: FP32, shape: [-1, 1]}
    - {name: count, datatype: INT64, shape: [1]}
"""
X = tensor("x", "FP32", [2, 2], [1, 2, 3, 4])
SCALE = tensor("scale", "FP32", [2, 1], [1, 10])
WORDS = tensor("words", "BYTES", [2], ["a", "ü"])
KINDS = ("scripted", "declared", "exported", "net")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerRun]:
    directory = tmp_path_factory.mktemp("tensor_models")
    store = directory / "store"
    store.mkdir()
    save_scripted(store / "scripted.pt")
    save_scripted(store / "optionals.pt", Optionals())
    save_exported(store / "exported.pt2")
    save_onnx(store / "net.onnx")
    save_bf16_onnx(store / "halves.onnx")
    models = [make_bare_mar(store, "declared", store / "scripted.pt", DECLARED), "scripted.pt", "named=optionals.pt"]
    models += ["exported.pt2", "net.onnx", "halves.onnx"]
    with ModelServerRun(directory, store, "--models", *models) as run:
        run.wait_ready()
        yield run


def _request(model: str) -> dict[str, Any]:
    return {"inputs": [X, SCALE, WORDS] if model == "net" else [X, SCALE]}


@pytest.mark.parametrize("model", KINDS)
def test_a_model_answers_tensors(server: ModelServerRun, model: str) -> None:
    answer = infer(server, model, _request(model))
    assert answer.status == 200, answer.body
    outputs = {one["name"]: one for one in answer.json["outputs"]}
    assert outputs["scores" if model == "declared" else "y"]["data"] == [5.0, 110.0]
    if model == "net":
        assert outputs["same"]["data"] == ["a", "ü"]
    else:
        assert outputs["count" if model == "declared" else "rows"]["data"] == [2]


@pytest.mark.parametrize("model", KINDS)
def test_a_model_tells_what_it_takes(server: ModelServerRun, model: str) -> None:
    told = ask(server.inference(f"v2/models/{model}")).json
    platforms = {"exported": "pytorch_export", "net": "onnx_onnxv1"}
    assert told["platform"] == platforms.get(model, "pytorch_torchscript")
    known = {"name": "x", "datatype": "FP32", "shape": [-1, 2]}
    assert told["inputs"][0] == (known if model != "scripted" else {"name": "x", "datatype": "", "shape": []})
    assert [one["name"] for one in told["inputs"]][:2] == ["x", "scale"]
    if model == "exported":
        assert told["outputs"][0] == {"name": "y", "datatype": "FP32", "shape": [-1, 1]}


@pytest.mark.parametrize("model", ["declared", "exported", "net"])
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (tensor("x", "FP64", [2, 2], [1, 2, 3, 4]), "the tensor 'x': expected FP32, got FP64"),
        (tensor("x", "FP32", [2, 3], [1, 2, 3, 4, 5, 6]), "the tensor 'x': expected the shape [-1, 2], got [2, 3]"),
        (tensor("z", "FP32", [2, 2], [1, 2, 3, 4]), "the model takes no tensor 'z': expected 'x' FP32 [-1, 2], 'scale' FP32"),
        (None, "the tensor 'x' is missing: expected 'x' FP32 [-1, 2], 'scale' FP32"),
    ],
)
def test_tensors_that_a_model_does_not_take_are_refused(
    server: ModelServerRun, model: str, wrong: dict[str, Any] | None, words: str
) -> None:
    inputs = [one for one in (wrong, *_request(model)["inputs"][1:]) if one is not None]
    answer = infer(server, model, {"inputs": inputs})
    assert answer.status == 400 and words in answer.json["error"]
    assert (
        infer(server, model, {"inputs": [X, *_request(model)["inputs"]]})
        .json["error"]
        .startswith("the tensor 'x': expected it once")
    )


def test_what_torchscript_does_not_tell_its_own_words_do(server: ModelServerRun) -> None:
    wrong = tensor("x", "FP32", [2, 3], [1, 2, 3, 4, 5, 6])
    answer = infer(server, "scripted", {"inputs": [wrong, SCALE]})
    assert answer.status == 400
    assert answer.json["error"].startswith("the model fails for Tensor('x' FP32 [2, 3]), Tensor('scale' FP32 [2, 1]): ")
    assert "shapes cannot be multiplied" in answer.json["error"]
    with Grpc(server.places["grpc_inference"]) as caller:
        x = {"name": "q", "datatype": "FP32", "shape": [1]}
        code, words = caller.failure("ModelInfer", model_name="scripted", inputs=[x], raw_input_contents=[b"\0" * 4])
        assert code is grpc.StatusCode.INVALID_ARGUMENT and "the model takes no tensor 'q'" in words


def test_arguments_of_torchscript(server: ModelServerRun) -> None:
    rows = [tensor("rows_0", "FP32", [2], [1, 2]), tensor("rows_1", "FP32", [2], [3, 4])]
    answer = infer(server, "named", {"inputs": rows})
    assert {one["name"]: one["data"] for one in answer.json["outputs"]} == {"output0": [4, 6], "output1": [8, 12]}
    more = [tensor("factor", "FP32", [1], [3]), tensor("bias", "FP32", [2], [1, 1])]
    answer = infer(server, "named", {"inputs": [*rows, *more], "outputs": [{"name": "output1"}]})
    assert [one["data"] for one in answer.json["outputs"]] == [[15, 21]]
    answer = infer(server, "named", {"inputs": [rows[0], tensor("rows_2", "FP32", [2], [1, 2])]})
    assert answer.json["error"] == "the tensor 'rows_1' is missing: expected it before 'rows_2'"


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP32", "FP64", "INT8", "INT64", "UINT8"])
def test_datatypes_reach_torch(server: ModelServerRun, datatype: str) -> None:
    answer = infer(server, "named", {"inputs": [tensor("rows_0", datatype, [2], [1, 2])]})
    assert answer.json["outputs"][0]["datatype"] == ("INT64" if "INT" in datatype else datatype)
    assert answer.json["outputs"][0]["data"] == [1, 2]


def test_numbers_of_bf16_reach_onnx_runtime_and_come_back(server: ModelServerRun) -> None:
    told = ask(server.inference("v2/models/halves")).json
    assert [(one["datatype"], one["shape"]) for one in (*told["inputs"], *told["outputs"])] == 2 * [("BF16", [-1, 2])]
    answer = infer(server, "halves", {"inputs": [tensor("x", "BF16", [2, 2], [1, -0.5, 3, 256])]})
    assert answer.status == 200, answer.body
    (output,) = answer.json["outputs"]
    assert (output["datatype"], output["data"]) == ("BF16", [2, -1, 6, 512])


def test_rows_as_kserve_had_them_before(server: ModelServerRun) -> None:
    rows = {"instances": [{"x": [1, 2], "scale": [1]}, {"x": [3, 4], "scale": [10]}]}
    kind = {"Content-Type": "application/json"}
    answer = ask(server.inference("v1/models/declared:predict"), json.dumps(rows).encode(), headers=kind)
    assert answer.json == {"predictions": {"scores": [[5.0], [110.0]], "count": [2]}}
    rows = {"instances": [{"rows_0": [1, 2]}, {"rows_0": [3, 4]}]}
    answer = ask(server.inference("v1/models/named:predict"), json.dumps(rows).encode(), headers=kind)
    assert answer.json["predictions"] == [
        {"output0": [1, 2], "output1": [2, 4]},
        {"output0": [3, 4], "output1": [6, 8]},
    ]
    answer = ask(server.inference("predictions/declared"), json.dumps({"inputs": [X, SCALE]}).encode(), headers=kind)
    assert answer.json["outputs"][0]["data"] == [5.0, 110.0]
    for body in (b'{"instances": []}', b'{"instances": [1]}', b"[]", b"no json", b'{"inputs": []}'):
        answer = ask(server.inference("predictions/declared"), body, headers=kind)
        assert answer.status == 400, answer.body


def test_large_tensors_come_back_as_they_went(server: ModelServerRun) -> None:
    x = np.random.default_rng(1).random((50_000, 2), np.float32)
    scale = np.ones((50_000, 1), np.float32)
    with Grpc(server.places["grpc_inference"]) as caller:
        inputs = [{"name": name, "datatype": "FP32", "shape": array.shape} for name, array in (("x", x), ("scale", scale))]
        raw = [x.tobytes(), scale.tobytes()]
        answer = caller.ask("ModelInfer", model_name="declared", inputs=inputs, raw_input_contents=raw)
    scores = np.frombuffer(answer.raw_output_contents[0], np.float32)
    assert np.allclose(scores, x[:, 0] + 2 * x[:, 1])
