"""What a call of the Open Inference Protocol takes beside a prediction of the same size, by the same handler and caller.

usage: PYTHONPATH=. python benchmarks/bench_open_inference.py

A handler that answers what it gets, over gRPC: tensors raw and typed, and the same bytes as a prediction. Medians of three
rounds, in which the three take turns.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from persia.open_inference import v2_pb2
from persia.torchserve.schema import new_message
from tests.support.model_servers import ModelServerRun, make_mar
from tests.support.open_inference import STANDARD

HANDLER = """
from persia.open_inference.tensors import ModelMetadata


class Echo:
    def initialize(self, context):
        pass

    def tensor_metadata(self):
        return ModelMetadata("echo")

    def infer_tensors(self, requests, context):
        return [list(request.tensors) for request in requests]

    def handle(self, data, context):
        return [inputs["x"] for inputs in data]
"""
SIZES = (32, 8 << 10, 256 << 10, 2560 << 10)  # numbers of four bytes
ROUNDS = 3
BYTES_A_ROUND = 40_000_000
LARGEST = 100_000_000


def requests_of(numbers: np.ndarray[Any, np.dtype[np.float32]]) -> dict[str, bytes]:
    described = {"name": "x", "datatype": "FP32", "shape": numbers.shape}
    typed = {**described, "contents": {"fp32_contents": numbers}}
    raw = v2_pb2.ModelInferRequest(model_name="echo", inputs=[described], raw_input_contents=[numbers.tobytes()])
    prediction = new_message("PredictionsRequest", model_name="echo", input={"x": numbers.tobytes()})
    return {
        "raw": raw.SerializeToString(),
        "typed": v2_pb2.ModelInferRequest(model_name="echo", inputs=[typed]).SerializeToString(),
        "prediction": prediction.SerializeToString(),
    }


def seconds_of(call: Callable[[bytes], bytes], request: bytes) -> float:
    count = max(20, min(2000, BYTES_A_ROUND // len(request)))
    begin = time.perf_counter()
    for _ in range(count):
        call(request)
    return (time.perf_counter() - begin) / count


def main() -> None:
    directory = Path(tempfile.mkdtemp())
    (directory / "echo.py").write_text(HANDLER)
    make_mar(directory / "store", "echo", handler=directory / "echo.py")
    options = [("grpc.max_receive_message_length", LARGEST), ("grpc.max_send_message_length", LARGEST)]
    with ModelServerRun(directory, directory / "store", "--models", "echo-1.0.mar", max_response_size=LARGEST) as server:
        server.wait_ready()
        with grpc.insecure_channel(server.places["grpc_inference"], options=options) as channel:
            infer: Any = channel.unary_unary(f"/{STANDARD}/ModelInfer")
            predict: Any = channel.unary_unary("/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions")
            calls = {"raw": infer, "typed": infer, "prediction": predict}
            print("bytes      prediction us   raw / prediction   typed / prediction")
            for size in SIZES:
                requests = requests_of(np.random.default_rng(1).random(size, np.float32))
                rounds = [{kind: seconds_of(calls[kind], requests[kind]) for kind in calls} for _ in range(ROUNDS)]
                took = {kind: statistics.median(one[kind] for one in rounds) for kind in calls}
                raw, typed = took["raw"] / took["prediction"], took["typed"] / took["prediction"]
                print(f"{4 * size:<10} {took['prediction'] * 1e6:>13.0f} {raw:>18.2f} {typed:>20.2f}", flush=True)


if __name__ == "__main__":
    main()
