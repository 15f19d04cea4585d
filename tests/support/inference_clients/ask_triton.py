"""Asks a model server as users of tritonclient do: `ask_triton.py http|grpc ADDRESS`. The model `echo` answers what it gets."""

from __future__ import annotations

import sys
from typing import Any

import ml_dtypes
import numpy as np

if sys.argv[1] == "http":
    import tritonclient.http as triton
else:
    import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

ARRAYS: dict[str, Any] = {
    "FP32": np.array([[-1.5, 0.1]], np.float32),
    "FP16": np.array([[-1.5, 65504]], np.float16),
    "BF16": np.array([[-1.5, 3]], ml_dtypes.bfloat16),
    "FP64": np.array([[-1.5, 0.1]], np.float64),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "UINT8": np.array([[0, 255]], np.uint8),
    "BOOL": np.array([[True, False]]),
    "BYTES": np.array([[b"", "ünï".encode()]], object),
}
IS_HTTP = sys.argv[1] == "http"


def asked(client: Any, name: str, datatype: str, array: Any, binary: bool = True) -> Any:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    if IS_HTTP:
        tensor.set_data_from_numpy(array, binary_data=binary)
        wanted = [triton.InferRequestedOutput(name, binary_data=binary)]
    else:
        tensor.set_data_from_numpy(array)
        wanted = [triton.InferRequestedOutput(name)]
    result = client.infer("echo", [tensor], outputs=wanted, request_id="mine")
    response = result.get_response()
    assert (response["id"] if IS_HTTP else response.id) == "mine"
    return result.as_numpy(name)


def main() -> None:
    client = triton.InferenceServerClient(sys.argv[2])
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("echo") and client.is_model_ready("echo", "1.0") and not client.is_model_ready("other")
    server, model = client.get_server_metadata(), client.get_model_metadata("echo")
    assert (server["name"] if IS_HTTP else server.name) == "persia-serve"
    assert (model["versions"] if IS_HTTP else list(model.versions)) == ["1.0"]
    for datatype, array in ARRAYS.items():
        assert np.array_equal(asked(client, "x", datatype, array), array), datatype
        if IS_HTTP and datatype not in ("FP16", "BF16"):
            got = asked(client, "x", datatype, array, binary=False)
            expected = np.array([[one.decode() for one in array[0]]]) if datatype == "BYTES" else array
            assert np.array_equal(got.astype(expected.dtype), expected), (datatype, got)
    large = np.random.default_rng(1).random((1000, 1000), np.float32)
    assert np.array_equal(asked(client, "large", "FP32", large), large)
    tensor = triton.InferInput("x", [1], "FP32")
    tensor.set_data_from_numpy(np.ones(1, np.float32))
    pending = [client.async_infer("echo", [tensor]) for _ in range(4)] if IS_HTTP else []
    assert all(one.get_result().as_numpy("x").tolist() == [1] for one in pending)
    for model_name, words in (("other", "Model not found: other"), ("strict", "the tensor 'x': expected the shape [-1, 2]")):
        try:
            client.infer(model_name, [tensor])
        except InferenceServerException as error:
            assert words in error.message(), error
        else:
            raise AssertionError(f"expected {model_name} to refuse")
    client.close()
    print("all answers are right")


main()
