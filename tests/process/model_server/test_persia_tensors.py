"""A Persia model by the Open Inference Protocol, before real shards: byte batches, and features and dense inputs by name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import torch

from tests.support.golden import arrays_of
from tests.support.middlewares import Deployment
from tests.support.model_servers import ModelServerRun, ask
from tests.support.open_inference import Grpc, infer, tensor
from tests.support.signed_models import Two, pack
from tests.support.torchserves import MIX, PERSIA_HANDLER, make_archive

BATCHES = [(MIX / "golden" / f"batch16_{i}.bin").read_bytes() for i in range(2)]
ARRAYS = [arrays_of(MIX / "golden" / f"batch16_{i}.npz") for i in range(2)]
FEATURES = ("user_id", "clicked", "bought", "query", "seen", "scaled_query")
DENSE = "non_id_type_feature_anonymous"

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, deployment: Deployment) -> Iterator[ModelServerRun]:
    directory, store = tmp_path_factory.mktemp("persia_tensors"), tmp_path_factory.mktemp("store")
    persia = {"addresses": [deployment.middleware.address]}
    model, golden, two = MIX / "ckpt" / "jit_dense.pt", directory / "golden.bin", directory / "two.pt"
    golden.write_bytes(BATCHES[0])
    torch.jit.script(Two()).save(str(two))
    models = [
        make_archive(store, "plain", handler=PERSIA_HANDLER, persia=persia),
        pack(store, "signed", model, golden, persia=persia),
        pack(store, "two", two, golden, "--single", "user_id", persia=persia, batchSize=4, maxBatchDelay=100),
    ]
    with ModelServerRun(directory, store, "--models", *models) as run:
        run.wait_ready()
        yield run


@pytest.fixture(scope="module")
def caller(server: ModelServerRun) -> Iterator[Grpc]:
    with Grpc(server.places["grpc_inference"]) as caller:
        yield caller


def offsets_of(arrays: dict[str, Any], name: str) -> Any:
    return np.concatenate([[0], np.cumsum(arrays[f"lens_{name}"])]).astype(np.int64)


def named(arrays: dict[str, Any], datatype: str = "UINT64") -> dict[str, tuple[str, Any]]:
    """The tensors of a golden batch: datatype and array."""
    tensors: dict[str, tuple[str, Any]] = {DENSE: ("FP32", arrays["dense0"])}
    for name in FEATURES:
        tensors[name] = (datatype, arrays[f"ids_{name}"])
        tensors[f"{name}.offsets"] = ("INT64", offsets_of(arrays, name))
    return tensors


def ask_grpc(caller: Grpc, model: str, tensors: dict[str, tuple[str, Any]], **fields: Any) -> dict[str, Any]:
    inputs = [{"name": name, "datatype": kind, "shape": array.shape} for name, (kind, array) in tensors.items()]
    raw = [array.tobytes() for _, array in tensors.values()]
    answer = caller.ask("ModelInfer", model_name=model, inputs=inputs, raw_input_contents=raw, **fields)
    assert all(one.datatype == "FP32" for one in answer.outputs)
    return {
        one.name: np.frombuffer(raw, np.float32).reshape(one.shape)
        for one, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }


def of_bytes(*elements: bytes) -> dict[str, Any]:
    """The fields of a request with `batch`."""
    raw = b"".join(len(one).to_bytes(4, "little") + one for one in elements)
    return {
        "inputs": [{"name": "batch", "datatype": "BYTES", "shape": [len(elements)]}],
        "raw_input_contents": [raw],
    }


@pytest.mark.parametrize("model", ["plain", "signed"])
def test_byte_batches_become_scores(caller: Grpc, model: str) -> None:
    answer = caller.ask("ModelInfer", model_name=model, **of_bytes(BATCHES[0]))
    assert [(one.name, one.datatype, list(one.shape)) for one in answer.outputs] == [("scores", "FP32", [16, 1])]
    scores = np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(16, 1)
    assert np.allclose(scores, ARRAYS[0]["out"], atol=1e-6)
    answer = caller.ask("ModelInfer", model_name=model, **of_bytes(*BATCHES))
    both = np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(32, 1)
    assert np.allclose(both, np.concatenate([ARRAYS[0]["out"], ARRAYS[1]["out"]]), atol=1e-6)


@pytest.mark.parametrize("model", ["plain", "signed"])
@pytest.mark.parametrize("datatype", ["UINT64", "INT64"])
def test_named_tensors_become_the_same_scores(caller: Grpc, model: str, datatype: str) -> None:
    scores = ask_grpc(caller, model, named(ARRAYS[0], datatype))["scores"]
    assert np.allclose(scores, ARRAYS[0]["out"], atol=1e-6)


def test_named_tensors_over_rest(server: ModelServerRun) -> None:
    inputs = [tensor(name, kind, array.shape, array.tolist()) for name, (kind, array) in named(ARRAYS[0]).items()]
    answer = infer(server, "signed", {"inputs": inputs})
    assert answer.status == 200, answer.body
    assert np.allclose(answer.json["outputs"][0]["data"], ARRAYS[0]["out"][:, 0], atol=1e-6)


def test_one_id_or_k_ids_of_each_sample_need_no_offsets(caller: Grpc) -> None:
    tensors = named(ARRAYS[0])
    users = tensors["user_id"][1]
    assert len(users) == 16
    without = {name: one for name, one in tensors.items() if name != "user_id.offsets"}
    assert np.allclose(ask_grpc(caller, "signed", without)["scores"], ARRAYS[0]["out"], atol=1e-6)
    pairs = np.stack([users, users], 1)
    flat = {**tensors, "user_id": ("UINT64", pairs.reshape(-1)), "user_id.offsets": ("INT64", np.arange(17) * 2)}
    matrix = {**without, "user_id": ("UINT64", pairs)}
    assert np.array_equal(ask_grpc(caller, "signed", flat)["scores"], ask_grpc(caller, "signed", matrix)["scores"])


def test_several_outputs_by_name(server: ModelServerRun, caller: Grpc) -> None:
    outputs = ask_grpc(caller, "two", named(ARRAYS[0]))
    assert {name: array.shape for name, array in outputs.items()} == {"first": (16,), "parts": (16, 3)}
    assert list(ask_grpc(caller, "two", named(ARRAYS[0]), outputs=[{"name": "parts"}])) == ["parts"]
    told = ask(server.inference("v2/models/two")).json
    assert told["platform"] == "persia"
    assert told["outputs"][1] == {"name": "parts", "datatype": "FP32", "shape": [-1, 3]}
    shown = {one["name"]: (one["datatype"], one["shape"]) for one in told["inputs"]}
    assert shown["batch"] == ("BYTES", [-1]) and shown["clicked"] == ("UINT64", [-1])
    assert shown["clicked.offsets"] == ("INT64", [-1]) and "user_id.offsets" not in shown
    assert shown[DENSE] == ("FP32", [-1, 5])


def test_text_is_hashed(caller: Grpc) -> None:
    from persia.ids import hash_strings

    texts = [f"user {i}".encode() for i in range(16)]
    hashed = {**named(ARRAYS[0]), "user_id": ("UINT64", hash_strings([one.decode() for one in texts]))}
    expected = ask_grpc(caller, "plain", hashed)["scores"]

    class Raw:
        shape = (16,)

        def tobytes(self) -> bytes:
            return b"".join(len(one).to_bytes(4, "little") + one for one in texts)

    got = ask_grpc(caller, "plain", {**named(ARRAYS[0]), "user_id": ("BYTES", Raw())})["scores"]
    assert np.array_equal(got, expected)


def test_what_is_wrong_is_told_by_name(server: ModelServerRun, caller: Grpc) -> None:
    good = named(ARRAYS[0])
    cases: list[tuple[dict[str, tuple[str, Any]], str]] = [
        ({**good, "batch": ("UINT64", np.zeros(1, np.uint64))}, "expected `batch` alone"),
        ({DENSE: good[DENSE]}, "expected `batch`, or the ids of features by name"),
        ({name: one for name, one in good.items() if not name.startswith("seen")}, "'seen'"),
        ({**good, "sen": good["seen"]}, "'sen'"),
        (
            {**good, "user_id": ("FP32", np.zeros(16, np.float32))},
            "'user_id': expected ids as INT64 or UINT64 or BYTES, got FP32",
        ),
        ({**good, "clicked.offsets": ("INT64", np.array([0, 1, 2]))}, "'clicked'"),
        ({**good, "clicked": ("UINT64", np.zeros((2, 2), np.uint64))}, "'clicked': expected ids in 1 dimension"),
        ({**good, DENSE: ("FP32", np.zeros((16, 4), np.float32))}, f"'{DENSE}'"),
        ({**good, DENSE: ("FP32", np.zeros((15, 5), np.float32))}, f"'{DENSE}'"),
    ]
    for tensors, words in cases:
        with pytest.raises(grpc.RpcError) as raised:
            ask_grpc(caller, "signed", tensors)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert words in (raised.value.details() or "")
    code, words = caller.failure("ModelInfer", model_name="signed", **of_bytes(b"no batch"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and "at byte" in words
    late = {"deadline_unix_ms": {"int64_param": int(time.time() * 1000) - 1000}}
    code, _ = caller.failure("ModelInfer", model_name="signed", parameters=late, **of_bytes(BATCHES[0]))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    answer = infer(server, "signed", {"inputs": [tensor("batch", "BYTES", [0], [])]})
    assert answer.status == 400 and "at least one byte batch" in answer.json["error"]
