"""The Open Inference Protocol over REST and gRPC, by a handler that answers the tensors which it gets."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import persia
from tests.support.model_servers import HANDLERS, ModelServerRun, ask, make_mar
from tests.support.open_inference import JSON_LENGTH, STANDARD, TORCHSERVES, Grpc, infer, tensor

DECLARED = """
open_inference:
  inputs: [{name: x, datatype: FP32, shape: [-1, 2]}]
  outputs: [{name: of x, datatype: FP32, shape: [-1, 2]}]
"""

# Of each datatype: elements in JSON, their bytes, and the field of typed contents.
ELEMENTS: dict[str, tuple[list[Any], bytes, str]] = {
    "BOOL": ([True, False], b"\1\0", "bool_contents"),
    "INT8": ([-128, 127], struct.pack("<2b", -128, 127), "int_contents"),
    "INT16": ([-32768, 32767], struct.pack("<2h", -32768, 32767), "int_contents"),
    "INT32": ([-(2**31), 2**31 - 1], struct.pack("<2i", -(2**31), 2**31 - 1), "int_contents"),
    "INT64": ([-(2**63), 2**63 - 1], struct.pack("<2q", -(2**63), 2**63 - 1), "int64_contents"),
    "UINT8": ([0, 255], struct.pack("<2B", 0, 255), "uint_contents"),
    "UINT16": ([0, 65535], struct.pack("<2H", 0, 65535), "uint_contents"),
    "UINT32": ([0, 2**32 - 1], struct.pack("<2I", 0, 2**32 - 1), "uint_contents"),
    "UINT64": ([0, 2**64 - 1], struct.pack("<2Q", 0, 2**64 - 1), "uint64_contents"),
    "FP16": ([-1.5, 65504.0], struct.pack("<2e", -1.5, 65504.0), ""),
    "BF16": ([-1.5, 3.0], b"\xc0\xbf\x40\x40", ""),
    "FP32": ([-1.5, 0.1], struct.pack("<2f", -1.5, 0.1), "fp32_contents"),
    "FP64": ([-1.5, 0.1], struct.pack("<2d", -1.5, 0.1), "fp64_contents"),
    "BYTES": (["", "ünï"], struct.pack("<I", 0) + struct.pack("<I", 5) + "ünï".encode(), "bytes_contents"),
}
NUMBERS = {"FP32": np.float32, "FP16": np.float16}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerRun]:
    directory = tmp_path_factory.mktemp("open_inference")
    store = directory / "store"
    make_mar(store, "echo", handler=HANDLERS / "echo_tensors.py", config="batchSize: 4\nmaxBatchDelay: 100\n")
    make_mar(store, "body", "2.0", handler=HANDLERS / "body.py", config=DECLARED)
    models = "echo-1.0.mar,body-2.0.mar"
    with ModelServerRun(directory, store, "--models", models, "--enable-model-api") as run:
        run.wait_ready()
        yield run


@pytest.fixture(scope="module")
def caller(server: ModelServerRun) -> Iterator[Grpc]:
    with Grpc(server.places["grpc_inference"]) as caller:
        yield caller


def _as_json(datatype: str) -> list[Any]:
    elements, raw, _ = ELEMENTS[datatype]
    return np.frombuffer(raw, "<f4").tolist() if datatype == "FP32" else elements


@pytest.mark.parametrize("datatype", ELEMENTS)
@pytest.mark.parametrize("shape", [[2], [1, 2], [2, 1, 1]])
def test_each_datatype_in_json_and_in_binary(server: ModelServerRun, datatype: str, shape: list[int]) -> None:
    elements, raw, _ = ELEMENTS[datatype]
    nested = np.array(elements, object).reshape(shape).tolist()
    for data in (elements, nested):
        answer = infer(server, "echo", {"id": "mine", "inputs": [tensor("x", datatype, shape, data)]})
        assert answer.status == 200, answer.body
        expected = {"name": "x", "datatype": datatype, "shape": shape, "data": _as_json(datatype)}
        assert answer.json == {"model_name": "echo", "model_version": "1.0", "id": "mine", "outputs": [expected]}
    asked = {
        "inputs": [tensor("x", datatype, shape, binary_data_size=len(raw)), tensor("y", "INT32", [1], [7])],
        "outputs": [{"name": "y"}, {"name": "x", "parameters": {"binary_data": True}}],
    }
    answer = infer(server, "echo", asked, raw)
    assert answer.status == 200, answer.body
    length = int(answer.headers[JSON_LENGTH.lower()])
    assert answer.body[length:] == raw and answer.headers["content-type"] == "application/octet-stream"
    described = json.loads(answer.body[:length])
    assert described["outputs"][0]["data"] == [7]  # in the order in which they are asked for
    assert described["outputs"][1]["parameters"] == {"binary_data_size": len(raw)}


@pytest.mark.parametrize("datatype", ELEMENTS)
def test_each_datatype_typed_and_raw_over_grpc(caller: Grpc, datatype: str) -> None:
    elements, raw, field = ELEMENTS[datatype]
    described = {"name": "x", "datatype": datatype, "shape": [2]}
    answer = caller.ask("ModelInfer", model_name="echo", id="mine", inputs=[described], raw_input_contents=[raw])
    assert (answer.model_name, answer.model_version, answer.id) == ("echo", "1.0", "mine")
    assert list(answer.raw_output_contents) == [raw] and not answer.outputs[0].HasField("contents")
    assert (answer.outputs[0].name, answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("x", datatype, [2])
    if not field:
        code, words = caller.failure(
            "ModelInfer", model_name="echo", inputs=[{**described, "contents": {"fp32_contents": [1.0, 2.0]}}]
        )
        assert code is grpc.StatusCode.INVALID_ARGUMENT and "raw_input_contents" in words
        return
    sent = [one.encode() for one in elements] if datatype == "BYTES" else elements
    answer = caller.ask("ModelInfer", model_name="echo", inputs=[{**described, "contents": {field: sent}}])
    assert not answer.raw_output_contents
    got = list(getattr(answer.outputs[0].contents, field))
    assert np.array_equal(got, np.array(sent, NUMBERS.get(datatype)))


def test_empty_tensors_and_scalars(server: ModelServerRun, caller: Grpc) -> None:
    answer = infer(server, "echo", {"inputs": [tensor("none", "FP32", [0, 3], []), tensor("one", "FP64", [], [2.5])]})
    assert [(one["shape"], one["data"]) for one in answer.json["outputs"]] == [([0, 3], []), ([], [2.5])]
    inputs = [{"name": "none", "datatype": "FP32", "shape": [0, 3]}, {"name": "one", "datatype": "INT8", "shape": []}]
    raw = caller.ask("ModelInfer", model_name="echo", inputs=inputs, raw_input_contents=[b"", b"\5"])
    assert list(raw.raw_output_contents) == [b"", b"\5"]
    typed = caller.ask("ModelInfer", model_name="echo", inputs=[inputs[0]])
    assert list(typed.outputs[0].shape) == [0, 3]


def test_all_outputs_in_binary(server: ModelServerRun) -> None:
    asked = {"parameters": {"binary_data_output": True}, "inputs": [tensor("x", "FP32", [1], [1.0])]}
    answer = infer(server, "echo", asked)
    assert answer.body[int(answer.headers[JSON_LENGTH.lower()]) :] == struct.pack("<f", 1.0)


def test_numbers_that_are_not_finite_are_null_in_json(server: ModelServerRun) -> None:
    raw = struct.pack("<3f", float("nan"), float("inf"), 1.0)
    answer = infer(server, "echo", {"inputs": [tensor("x", "FP32", [3], binary_data_size=12)]}, raw)
    assert answer.json["outputs"][0]["data"] == [None, None, 1.0]
    answer = infer(server, "echo", {"inputs": [tensor("x", "FP32", [2], [None, 1.0])]})
    assert answer.json["outputs"][0]["data"] == [None, 1.0]


@pytest.mark.parametrize(
    ("inputs", "binary", "words"),
    [
        ([tensor("x", "FP32", [2], [1.0])], None, "the tensor 'x': expected 2 elements, as the shape [2] has, got 1"),
        ([tensor("x", "FP31", [1], [1.0])], None, "the tensor 'x': expected one of BOOL"),
        (
            [tensor("x", "INT8", [1], [128])],
            None,
            "the tensor 'x': expected numbers from -128 to 127, as INT8 has them, got 128",
        ),
        ([tensor("x", "FP16", [1], [1e6])], None, "the tensor 'x': expected numbers that FP16 can hold, got 1000000.0"),
        (
            [tensor("x", "INT64", [1], [1.5])],
            None,
            "the tensor 'x': its data is no INT64: Expected `int`, got `float` - at `$[0]`",
        ),
        ([tensor("x", "FP32", [1], ["1"])], None, "its data is no FP32: Expected `float | null`, got `str`"),
        ([tensor("x", "FP32", [2, 2], [[1, 2], [3]])], None, "lists as the shape [2, 2] has them, got one of 1 where it has 2"),
        ([tensor("x", "FP32", [4], [[1, 2], [3, 4]])], None, "got 2 lists in each other"),
        ([tensor("x", "FP32", [-1], [1.0])], None, "the tensor 'x': expected a shape of numbers from 0 on, got [-1]"),
        ([tensor("x", "FP32", [1])], None, "the tensor 'x': expected its elements as `data`, or binary_data_size, got neither"),
        ([tensor("x", "FP32", [1], binary_data_size=4)], b"123", "up to the 3 bytes that are left behind the JSON"),
        ([tensor("x", "FP32", [1], binary_data_size=3)], b"123", "'x' FP32 [1]: expected 4 bytes of the tensor, got 3"),
        ([tensor("x", "FP32", [1], binary_data_size=4)], b"12345", "expected 4 bytes behind the JSON"),
        ([tensor("x", "BYTES", [1], binary_data_size=5)], b"\5\0\0\0a", "got one that ends 4 bytes behind the tensor"),
        ([{"name": "x"}], None, "Object missing required field `shape` - at `$.inputs[0]`"),
    ],
)
def test_tensors_that_are_none_are_refused_by_name(
    server: ModelServerRun, inputs: list[Any], binary: bytes | None, words: str
) -> None:
    answer = infer(server, "echo", {"inputs": inputs}, binary)
    assert (answer.status, list(answer.json)) == (400, ["error"])
    assert words in answer.json["error"]


def test_messages_that_are_none_are_refused(server: ModelServerRun, caller: Grpc) -> None:
    path = server.inference("v2/models/echo/infer")
    assert ask(path, b"no json").status == 400
    for length in ("1000", "-1", "x", "9" * 5000):
        answer = ask(path, b"{}", headers={JSON_LENGTH: length})
        assert answer.status == 400 and JSON_LENGTH in answer.json["error"]
    assert ask(path, b"{}", headers={"Content-Encoding": "gzip"}).status == 415
    x = {"name": "x", "datatype": "INT8", "shape": [1]}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"inputs": [x, x], "raw_input_contents": [b"1"]}, "each of the 2 inputs"),
        (
            {"inputs": [{**x, "contents": {"int_contents": [1]}}], "raw_input_contents": [b"1"]},
            "'x': expected raw_input_contents or",
        ),
        ({"inputs": [{**x, "contents": {"int64_contents": [1]}}]}, "'x': expected the contents of INT8"),
        ({"inputs": [{**x, "contents": {"int_contents": [300]}}]}, "'x': expected numbers that INT8 can hold, got 300"),
        ({"inputs": [x]}, "'x': expected 1 elements, as the shape [1] has, got 0"),
        (
            {"inputs": [x], "outputs": [{"name": "y"}], "raw_input_contents": [b"1"]},
            "no output 'y', expected one of 'x'",
        ),
    ]
    for fields, words in cases:
        code, told = caller.failure("ModelInfer", model_name="echo", **fields)
        assert code is grpc.StatusCode.INVALID_ARGUMENT and words in told


@pytest.mark.parametrize(
    ("do", "status", "code", "words"),
    [
        ("alone", 503, grpc.StatusCode.UNAVAILABLE, "this one alone"),
        ("refuse", 404, grpc.StatusCode.NOT_FOUND, "as you wish"),
        ("raise", 500, grpc.StatusCode.INTERNAL, "the handler failed: see the server's log"),
        ("few", 500, grpc.StatusCode.INTERNAL, "the handler failed: it did not answer each request"),
        ("die", 500, grpc.StatusCode.INTERNAL, "Worker died."),
    ],
)
def test_what_a_handler_does_wrong_is_told(
    server: ModelServerRun, caller: Grpc, do: str, status: int, code: grpc.StatusCode, words: str
) -> None:
    answer = infer(server, "echo", {"parameters": {"do": do}, "inputs": [tensor("x", "INT8", [1], [1])]})
    assert (answer.status, answer.json) == (status, {"error": words})
    fields = {"inputs": [{"name": "x", "datatype": "INT8", "shape": [1]}], "raw_input_contents": [b"1"]}
    told = caller.failure("ModelInfer", model_name="echo", parameters={"do": {"string_param": do}}, **fields)
    assert told == (code, words)


def test_a_wrong_call_of_a_batch_fails_alone(server: ModelServerRun) -> None:
    def call(i: int) -> int:
        parameters = {"do": "alone"} if i == 1 else {}
        data = [1] if i != 2 else ["wrong"]
        return infer(server, "echo", {"parameters": parameters, "inputs": [tensor("x", "INT8", [1], data)]}).status

    with ThreadPoolExecutor(5) as pool:
        other = pool.submit(ask, server.inference("predictions/echo"), b"x")
        assert list(pool.map(call, range(4))) == [200, 503, 400, 200]
        assert other.result().body.endswith(b" others")


def test_what_is_not_there(server: ModelServerRun, caller: Grpc) -> None:
    request = {"inputs": [tensor("x", "INT8", [1], [1])]}
    assert infer(server, "other", request).json == {"error": "Model not found: other"}
    answer = infer(server, "echo", request, path="versions/9/infer")
    assert (answer.status, answer.json) == (404, {"error": "Model version: 9 does not exist for model: echo"})
    assert infer(server, "echo", request, path="versions/1.0/infer").status == 200
    for path in ("v2/models/other", "v2/models/other/ready", "v2/models/echo/versions/9", "v2/nothing"):
        answer = ask(server.inference(path))
        assert answer.status == 404 and list(answer.json) == ["error"]
    assert ask(server.inference("v2/models/echo/infer")).status == 405
    assert not caller.ask("ModelReady", name="other").ready  # for tritonclient, which would raise
    assert caller.failure("ModelMetadata", name="other")[0] is grpc.StatusCode.NOT_FOUND
    assert caller.failure("ModelInfer", model_name="echo", model_version="9")[0] is grpc.StatusCode.NOT_FOUND
    assert caller.failure("ModelInfer")[0] is grpc.StatusCode.INVALID_ARGUMENT
    answer = infer(server, "echo", request, path="explain")
    assert answer.json == {"error": "the model 'echo' takes tensors and has no explanations"}


@pytest.mark.parametrize("service", [STANDARD, TORCHSERVES])
def test_health_and_metadata_over_grpc(server: ModelServerRun, service: str) -> None:
    with Grpc(server.places["grpc_inference"], service) as caller:
        assert caller.ask("ServerLive").live and caller.ask("ServerReady").ready
        assert caller.ask("ModelReady", name="echo").ready and caller.ask("ModelReady", name="body", version="2.0").ready
        told = caller.ask("ServerMetadata")
        assert (told.name, told.version, list(told.extensions)) == ("persia-serve", persia.__version__, ["binary_tensor_data"])
        told = caller.ask("ModelMetadata", name="body")
        assert (told.name, list(told.versions), told.platform) == ("body", ["2.0"], "torchserve")
        assert [(one.name, one.datatype, list(one.shape)) for one in told.inputs] == [("x", "FP32", [-1, 2])]
        x = {"name": "x", "datatype": "INT8", "shape": [1]}
        assert list(caller.ask("ModelInfer", model_name="echo", inputs=[x], raw_input_contents=[b"1"]).raw_output_contents) == [
            b"1"
        ]


def test_health_and_metadata_over_rest(server: ModelServerRun) -> None:
    told = {
        "v2/health/live": {"live": True},
        "v2/health/ready": {"ready": True},
        "v2/models/echo/ready": {"name": "echo", "ready": True},
        "v2/models/body/versions/2.0/ready": {"name": "body", "ready": True},
        "v2": {"name": "persia-serve", "version": persia.__version__, "extensions": ["binary_tensor_data"]},
        "v2/models/echo": {
            "name": "echo",
            "versions": ["1.0"],
            "platform": "test",
            "inputs": [{"name": "any", "datatype": "", "shape": []}],
            "outputs": [{"name": "any", "datatype": "FP32", "shape": [-1]}],
        },
        "v1/models": {"models": ["body", "echo"]},
        "v1/models/echo": {"name": "echo", "ready": True},
    }
    for path, expected in told.items():
        answer = ask(server.inference(path))
        assert (answer.status, answer.json) == (200, expected)


def test_a_model_without_a_worker_is_not_ready(server: ModelServerRun, caller: Grpc) -> None:
    assert ask(server.management("models?url=echo-1.0.mar&model_name=idle&initial_workers=0"), b"", "POST").status == 200
    try:
        assert ask(server.inference("v2/models/idle/ready")).status == 400
        assert ask(server.inference("v2/models/idle")).status == 503
        assert not caller.ask("ModelReady", name="idle").ready
        assert caller.failure("ModelMetadata", name="idle")[0] is grpc.StatusCode.UNAVAILABLE
        assert infer(server, "idle", {"inputs": []}).status == 503
    finally:
        ask(server.management("models/idle"), None, "DELETE")


def test_a_handler_of_torchserve_gets_the_body_as_it_came(server: ModelServerRun) -> None:
    x = tensor("x", "FP32", [2], [1, 2])
    expected = {"model_name": "body", "id": "mine", "outputs": [{**x, "name": "of x"}]}
    assert infer(server, "body", {"id": "mine", "inputs": [x]}).json == expected
    assert ask(server.inference("v2/models/body/infer"), b"raw").body == b"got bytearray: raw"


def test_a_handler_of_torchserve_is_asked_with_binary_tensors(server: ModelServerRun, caller: Grpc) -> None:
    request = {
        "inputs": [tensor("x", "FP16", [2], binary_data_size=4), tensor("t", "BYTES", [1], binary_data_size=6)],
        "outputs": [{"name": "of x", "parameters": {"binary_data": True}}],
    }
    answer = infer(server, "body", request, struct.pack("<2e", 1, 2) + b"\2\0\0\0hi")
    assert answer.body.endswith(struct.pack("<2e", 1, 2)) and answer.headers["content-type"] == "application/octet-stream"
    inputs = [{"name": "x", "datatype": "INT64", "shape": [1]}, {"name": "t", "datatype": "BYTES", "shape": [1]}]
    told = caller.ask("ModelInfer", model_name="body", inputs=inputs, raw_input_contents=[b"\1" * 8, b"\1\0\0\0\xff"])
    assert [one.name for one in told.outputs] == ["of x", "of t"]
    assert list(told.raw_output_contents) == [b"\1" * 8, b"\4\0\0\0/w=="]  # what is no text comes as base64
    code, words = caller.failure("ModelInfer", model_name="body", parameters={"do": {"string_param": "words"}})
    assert code is grpc.StatusCode.INTERNAL and "the handler's answer cannot be sent as tensors" in words


def test_the_envelope_of_torchserve(tmp_path: Path) -> None:
    make_mar(tmp_path / "store", "sums", handler=HANDLERS / "sums.py")
    with ModelServerRun(tmp_path, tmp_path / "store", "--models", "sums-1.0.mar", service_envelope="kservev2") as server:
        server.wait_ready()
        answer = infer(server, "sums", {"id": "a", "inputs": [tensor("x", "FP32", [3], [1, 2, 3])]})
        outputs = [{"name": "x", "datatype": "FP64", "data": [6.0], "shape": [1]}]
        assert answer.json == {"id": "a", "model_name": "sums", "model_version": "1.0", "outputs": outputs}
        with Grpc(server.places["grpc_inference"]) as caller:
            x = {"name": "x", "datatype": "FP32", "shape": [2]}
            told = caller.ask("ModelInfer", model_name="sums", inputs=[x], raw_input_contents=[struct.pack("<2f", 1, 2)])
            assert list(told.raw_output_contents) == [struct.pack("<d", 3)]


@pytest.mark.parametrize("listener", ["grpc_inference", "grpc_management"])
def test_reflection_describes_every_service_that_it_lists(server: ModelServerRun, listener: str) -> None:
    with grpc.insecure_channel(server.places[listener]) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        services = [pool.FindServiceByName(name) for name in database.get_services()]
        methods = {service.full_name: {method.name for method in service.methods} for service in services}
    torchserves = "inference.InferenceAPIsService" if listener == "grpc_inference" else "management.ManagementAPIsService"
    assert {"Predictions", "DescribeModel"} & methods[f"org.pytorch.serve.grpc.{torchserves}"]
    assert all(methods.values()) and len(methods) == (5 if listener == "grpc_inference" else 3)


def test_a_prediction_by_what_reflection_tells(server: ModelServerRun) -> None:
    with Grpc(server.places["grpc_inference"], "org.pytorch.serve.grpc.inference.InferenceAPIsService") as caller:
        assert json.loads(caller.ask("Ping").health) == {"status": "Healthy"}
        body = caller.ask("Predictions", model_name="body", input={"body": b"as it is"}).prediction
        assert b"as it is" in body


def test_a_plain_handler_that_fails_is_no_want_of_workers(server: ModelServerRun, caller: Grpc) -> None:
    asked = {"inputs": [tensor("x", "FP32", [1], [1])], "parameters": {"do": "raise"}}
    answer = infer(server, "body", asked)
    assert (answer.status, answer.json) == (500, {"error": "Prediction failed"})
    words = {"do": {"string_param": "raise"}}
    fields = {"name": "x", "datatype": "FP32", "shape": [1], "contents": {"fp32_contents": [1]}}
    code, text = caller.failure("ModelInfer", model_name="body", inputs=[fields], parameters=words)
    assert (code, text) == (grpc.StatusCode.INTERNAL, "Prediction failed")
