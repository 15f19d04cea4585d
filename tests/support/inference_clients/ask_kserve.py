"""Asks a model server as users of KServe's SDK do: `ask_kserve.py HTTP_ADDRESS GRPC_ADDRESS`. `echo` answers what it gets."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

ARRAYS: dict[str, Any] = {
    "FP32": np.array([[-1.5, 0.1]], np.float32),
    "FP16": np.array([[-1.5, 65504]], np.float16),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "BOOL": np.array([[True, False]]),
    "BYTES": np.array([[b"a", "ünï".encode()]], object),
}


def request_of(datatype: str, array: Any, binary: bool) -> InferRequest:
    tensor = InferInput("x", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return InferRequest(model_name="echo", infer_inputs=[tensor], request_id="mine")


def check(response: Any, datatype: str, array: Any) -> None:
    assert response.id == "mine" and response.model_name == "echo"
    [output] = response.outputs
    got = output.as_numpy()
    if datatype == "BYTES":
        got = np.array([one if isinstance(one, bytes) else one.encode() for one in got.reshape(-1)], object)
        array = array.reshape(-1)
    assert np.array_equal(got.reshape(array.shape), array), (datatype, got)


async def over_rest(address: str) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    url = f"http://{address}"
    assert await client.is_server_live(url) and await client.is_server_ready(url)
    assert await client.is_model_ready(url, "echo")
    for datatype, array in ARRAYS.items():
        check(await client.infer(url, request_of(datatype, array, True), model_name="echo"), datatype, array)
        if datatype != "FP16":
            check(await client.infer(url, request_of(datatype, array, False), model_name="echo"), datatype, array)
    await client.close()
    first = InferenceRESTClient(RESTConfig(protocol="v1"))
    assert await first.is_model_ready(url, "strict")
    answer = await first.infer(url, {"instances": [{"x": [1, 2], "scale": [10]}]}, model_name="strict")
    assert answer["predictions"]["scores"] == [[50.0]], answer
    await first.close()


async def over_grpc(address: str) -> None:
    client = InferenceGRPCClient(address)
    assert await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready("echo")
    for datatype, array in ARRAYS.items():
        for binary in (True, False) if datatype != "FP16" else (True,):
            check(await client.infer(request_of(datatype, array, binary)), datatype, array)
    await client.close()


async def main() -> None:
    await over_rest(sys.argv[1])
    await over_grpc(sys.argv[2])
    print("all answers are right")


asyncio.run(main())
