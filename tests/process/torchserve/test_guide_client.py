"""The client of Persia's inference guide, as users have it: with stubs of their own, without tokens, parsing JSON by lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.servers import PATIENCE
from tests.support.torchserves import MIX, TorchServeRun, scores_of_golden

pytestmark = pytest.mark.whole_way

# What grpcio-tools makes of TorchServe's inference.proto, as far as the guide's client uses it: in protobuf's default pool.
INFERENCE_PB2 = """
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

file = descriptor_pb2.FileDescriptorProto(name="inference.proto", package="org.pytorch.serve.grpc.inference", syntax="proto3")
request = file.message_type.add(name="PredictionsRequest")
request.field.add(name="model_name", number=1, label=1, type=9)
request.field.add(name="model_version", number=2, label=1, type=9)
entry = request.nested_type.add(name="InputEntry")
entry.options.map_entry = True
entry.field.add(name="key", number=1, label=1, type=9)
entry.field.add(name="value", number=2, label=1, type=12)
request.field.add(name="input", number=3, label=3, type=11, type_name=f".{file.package}.PredictionsRequest.InputEntry")
file.message_type.add(name="PredictionResponse").field.add(name="prediction", number=1, label=1, type=12)
pool = descriptor_pool.Default()
pool.Add(file)
PredictionsRequest, PredictionResponse = (
    message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}"))
    for name in ("PredictionsRequest", "PredictionResponse")
)
"""

INFERENCE_PB2_GRPC = """
import inference_pb2

class InferenceAPIsServiceStub:
    def __init__(self, channel):
        self.Predictions = channel.unary_unary(
            "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions",
            request_serializer=inference_pb2.PredictionsRequest.SerializeToString,
            response_deserializer=inference_pb2.PredictionResponse.FromString,
        )
"""

CLIENT = """
import sys
import grpc
{imports}

def get_inference_stub():
    channel = grpc.insecure_channel("localhost:{port}")
    stub = inference_pb2_grpc.InferenceAPIsServiceStub(channel)
    return stub

def infer(stub, model_name, model_input):
    input_data = {{"batch": model_input}}
    response = stub.Predictions(inference_pb2.PredictionsRequest(model_name=model_name, input=input_data))
    try:
        prediction = response.prediction.decode("utf-8")
        print(prediction)
    except grpc.RpcError as e:
        exit(1)
"""
SEND_FILE = 'infer(get_inference_stub(), sys.argv[1], open(sys.argv[2], "rb").read())'

OURS = "import persia.client.predict, persia.client.manage_command, persia.torchserve, persia.prelude"
THEIRS = "import inference_pb2, inference_pb2_grpc"
BATCH = MIX / "golden" / "batch16_0.bin"


def scores_that_the_client_prints(
    address: str, directory: Path, code: str, *arguments: object, imports: str = THEIRS
) -> list[float]:
    """Of the client with this code below its functions, in which any warning is an error. address: of gRPC."""
    (directory / "inference_pb2.py").write_text(INFERENCE_PB2)
    (directory / "inference_pb2_grpc.py").write_text(INFERENCE_PB2_GRPC)
    client = CLIENT.format(imports=imports, port=address.rpartition(":")[2])
    (directory / "client.py").write_text(client + code)
    command = [sys.executable, "-W", "error", str(directory / "client.py"), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 0, ended.stderr
    first, *numbers, last = ended.stdout.splitlines()
    assert (first, last) == ("[", "]")
    return [float(line.strip(" ,")) for line in numbers]


@pytest.mark.parametrize("imports", [f"{OURS}\n{THEIRS}", f"{THEIRS}\n{OURS}"], ids=["ours first", "theirs first"])
def test_it_works_unchanged_beside_our_library(open_torchserve: TorchServeRun, tmp_path: Path, imports: str) -> None:
    scores = scores_that_the_client_prints(open_torchserve.address, tmp_path, SEND_FILE, "golden", BATCH, imports=imports)
    np.testing.assert_allclose(scores, scores_of_golden(), rtol=1e-5)
