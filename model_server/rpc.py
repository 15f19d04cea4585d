"""TorchServe's gRPC services: predictions are the native core's, management and Ping are answered here."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from persia._core.inference import Models, predictions_method
from persia.errors import AccessDenied
from persia.serving.server import Server
from persia.torchserve.schema import message_class, new_message

from .management import ALL_VERSIONS, Done, Management
from .refusals import BadRequest
from .registration import Registration

__all__ = ["INFERENCE", "MANAGEMENT", "add_inference", "add_management"]

INFERENCE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"
MANAGEMENT = "org.pytorch.serve.grpc.management.ManagementAPIsService"


def add_inference(server: Server, models: Models, management: Management) -> None:
    """Predictions, StreamPredictions and Ping."""

    def ping(_request: Any) -> Any:
        return new_message("TorchServeHealthResponse", health=_pretty(management.health()))

    server.add(f"/{INFERENCE}/Predictions", predictions_method(models, False))
    server.add(f"/{INFERENCE}/StreamPredictions", predictions_method(models, True))
    server.add_unary(f"/{INFERENCE}/Ping", message_class("DescribeModelRequest"), ping)  # whatever it says, it asks the same


def add_management(server: Server, management: Management) -> None:
    """The six operations. Duplicates and default versions, which TorchServe refuses without a word, get a code and words."""
    operations: dict[str, Callable[[Any], str]] = {
        "DescribeModel": lambda request: _pretty(_described(management, request)),
        "ListModels": lambda request: _pretty(management.listed(request.limit, request.next_page_token)),
        "RegisterModel": lambda request: _register(management, request).sentence,
        "ScaleWorker": lambda request: _scale(management, request).sentence,
        "SetDefault": lambda request: management.set_default(request.model_name, request.model_version).sentence,
        "UnregisterModel": lambda request: _unregister(management, request).sentence,
    }
    for name, operation in operations.items():
        server.add_unary(f"/{MANAGEMENT}/{name}", message_class(f"{name}Request"), _answering(operation))


def _answering(operation: Callable[[Any], str]) -> Callable[[Any], Any]:
    return lambda request: new_message("ManagementResponse", msg=operation(request))


def _described(management: Management, request: Any) -> Any:
    version = request.model_version or None
    if request.customized and version != ALL_VERSIONS:
        return management.customized(request.model_name, version, [])
    return management.described(request.model_name, version)


def _register(management: Management, request: Any) -> Done:
    _require_api(management)
    if not request.url:
        raise BadRequest("Parameter url is required.")
    wanted = Registration(
        url=request.url,
        model_name=request.model_name or None,
        handler=request.handler or None,
        runtime=request.runtime or None,
        batch_size=request.batch_size or None,
        max_batch_delay=request.max_batch_delay or None,
        response_timeout=request.response_timeout or None,
        startup_timeout=request.startup_timeout or None,
        initial_workers=request.initial_workers or None,
    )
    return management.register(wanted, request.synchronous)


def _scale(management: Management, request: Any) -> Done:
    least = request.min_worker or 1
    return management.scale(
        request.model_name, request.model_version or None, least, request.max_worker or None, request.synchronous
    )


def _unregister(management: Management, request: Any) -> Done:
    _require_api(management)
    return management.unregister(request.model_name, request.model_version or None)


def _require_api(management: Management) -> None:
    if not management.api_enabled:
        raise AccessDenied("Model API disabled")


def _pretty(answer: Any) -> str:
    return json.dumps(answer, indent=2, ensure_ascii=False)
