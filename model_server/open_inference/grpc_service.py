"""GRPCInferenceService of the Open Inference Protocol, also under the name that TorchServe gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from persia._core.inference import Models, model_infer_method
from persia.open_inference import torchserve_pb2, v2_pb2
from persia.serving.server import Server

from .served import ServedModels

__all__ = ["SERVICES", "add_open_inference"]

SERVICES: tuple[str, ...] = tuple(
    file.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name for file in (v2_pb2, torchserve_pb2)
)


def add_open_inference(server: Server, models: Models, served: ServedModels) -> None:
    """Inferences are the native core's; what is asked about models is answered here."""
    answers: dict[str, tuple[Any, Callable[[Any], Any]]] = {
        "ServerLive": (v2_pb2.ServerLiveRequest, lambda _: v2_pb2.ServerLiveResponse(live=True)),
        "ServerReady": (v2_pb2.ServerReadyRequest, lambda _: v2_pb2.ServerReadyResponse(ready=served.is_ready())),
        "ModelReady": (
            v2_pb2.ModelReadyRequest,
            lambda asked: v2_pb2.ModelReadyResponse(ready=served.is_there_and_ready(asked.name, asked.version or None)),
        ),
        "ServerMetadata": (v2_pb2.ServerMetadataRequest, lambda _: v2_pb2.ServerMetadataResponse(**served.server())),
        "ModelMetadata": (
            v2_pb2.ModelMetadataRequest,
            lambda asked: v2_pb2.ModelMetadataResponse(**served.metadata(asked.name, asked.version or None)),
        ),
    }
    for service in SERVICES:
        server.add(f"/{service}/ModelInfer", model_infer_method(models))
        for method, (request, answer) in answers.items():
            server.add_unary(f"/{service}/{method}", request, answer)
