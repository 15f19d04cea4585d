"""The client of Persia's inference guide, as users have it: with stubs of their own, without tokens, parsing JSON by lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from servers import PATIENCE
from torchserves import MIX, TorchServeRun, scores_of_golden

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
    channel = grpc.insecure_channel("localhost:PORT")
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

infer(get_inference_stub(), "golden", open(sys.argv[1], "rb").read())
"""

OURS = "import persia.client.predict, persia.client.manage_command, persia.torchserve, persia.prelude"
THEIRS = "import inference_pb2, inference_pb2_grpc"


@pytest.mark.parametrize("imports", [f"{OURS}\n{THEIRS}", f"{THEIRS}\n{OURS}"], ids=["ours first", "theirs first"])
def test_it_works_unchanged_beside_our_library(open_torchserve: TorchServeRun, tmp_path: Path, imports: str) -> None:
    (tmp_path / "inference_pb2.py").write_text(INFERENCE_PB2)
    (tmp_path / "inference_pb2_grpc.py").write_text(INFERENCE_PB2_GRPC)
    port = open_torchserve.address.rpartition(":")[2]
    (tmp_path / "client.py").write_text(CLIENT.format(imports=imports).replace("PORT", port))
    command = [sys.executable, "-W", "error", str(tmp_path / "client.py"), str(MIX / "golden" / "batch16_0.bin")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode == 0, run.stderr
    first, *numbers, last = run.stdout.splitlines()
    assert (first, last) == ("[", "]")
    np.testing.assert_allclose([float(line.strip(" ,")) for line in numbers], scores_of_golden(), rtol=1e-5)
