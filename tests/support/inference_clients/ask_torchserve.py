"""Asks a model server as users of PyPI's torchserve-client do, with its stubs, which protoc made of TorchServe's own files.

`ask_torchserve.py INFERENCE MANAGEMENT GRPC_INFERENCE GRPC_MANAGEMENT`. The store has probe-1.0.mar.
"""

from __future__ import annotations

import io
import json
import sys

from torchserve_client import TorchServeClientGRPC, TorchServeClientREST
from torchserve_client.proto.inference_pb2 import PredictionsRequest

ARCHIVE = "probe-1.0.mar"
REGISTERED = 'Model "probe" Version: 1.0 registered with 1 initial workers'


def port(address: str) -> int:
    return int(address.rpartition(":")[2])


def over_rest(inference: str, management: str) -> None:
    client = TorchServeClientREST("http://127.0.0.1", management_port=port(management), inference_port=port(inference))
    models = client.management
    assert models.register_model(ARCHIVE, initial_workers=1, synchronous=True) == {"status": REGISTERED}
    assert models.list_models()["models"] == [{"modelName": "probe", "modelUrl": ARCHIVE}]
    assert models.describe_model("probe")[0]["workers"][0]["status"] == "READY"
    assert models.scale_workers("probe", min_worker=1) == {"status": "Processing worker updates..."}
    assert "successfully updated" in models.set_default_version("probe", "1.0")["status"]
    assert models.api_description()["openapi"] == "3.0.1"
    assert client.inference.health_check() == {"status": "Healthy"}
    for ask in (client.inference.prediction, client.inference.explaination):
        assert ask("probe", [("do", io.BytesIO(b"inputs"))]) == {"do": ["bytearray", "inputs"]}
    assert models.unregister_model("probe") == {"status": 'Model "probe" unregistered'}
    try:
        models.describe_model("probe")
    except OSError as error:  # as HTTPError of requests is
        assert "404" in str(error)
    else:
        raise AssertionError("a model that is gone was described")


def over_grpc(inference: str, management: str) -> None:
    client = TorchServeClientGRPC("http://127.0.0.1", management_port=port(management), inference_port=port(inference))
    models = client.management
    assert models.register_model(url=ARCHIVE, initial_workers=1, synchronous=True).msg == REGISTERED
    assert json.loads(models.list_models(limit=10).msg)["models"] == [{"modelName": "probe", "modelUrl": ARCHIVE}]
    assert json.loads(models.describe_model("probe").msg)[0]["modelVersion"] == "1.0"
    assert models.scale_worker("probe", min_worker=1, synchronous=True).msg == "Workers scaled to 1 for model: probe"
    assert "successfully updated" in models.set_default("probe", "1.0").msg
    # Its predictions() names a field of an older release, so its stub is asked.
    stub = client.inference.stub
    assert stub.Predictions(PredictionsRequest(model_name="probe", input={"do": b"echo x"})).prediction == b"x"
    parts = stub.StreamPredictions(PredictionsRequest(model_name="probe", input={"do": b"stream 2"}))
    assert [part.prediction for part in parts] == [b"part 0;", b"part 1;", b"end"]
    assert models.unregister_model("probe").msg == 'Model "probe" unregistered'


def main(inference: str, management: str, grpc_inference: str, grpc_management: str) -> None:
    over_rest(inference, management)
    over_grpc(grpc_inference, grpc_management)
    print("all answers are right")


if __name__ == "__main__":
    main(*sys.argv[1:])
