"""A handler for models without any code of a user's: TorchScript, torch.export, AOTInductor and ONNX, tensors in and out.

The model server asks it by the Open Inference Protocol (docs/open-inference.md): `tensor_metadata` and `infer_tensors`. Whoever
asks for predictions sends the protocol's JSON as the body, or KServe's `instances`.

TorchServe wants exactly one class in a handler's file, so there is no other one here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from persia.dense.named.loading import load_named
from persia.errors import PersiaError
from persia.handlers.refusals import with_refusals
from persia.handlers.tensor_bodies import answer_to_body
from persia.open_inference.declared import declared_tensors
from persia.open_inference.tensors import ModelMetadata, Tensor, TensorRequest


class TensorHandler:
    """Any number of requests are one call each."""

    def initialize(self, context: Any) -> None:
        """Raises ConfigError, InvalidInput, NotFound, OSError where the archive has no model that can be served."""
        model = context.manifest["model"]
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        device = torch.device("cuda", int(gpu)) if gpu is not None and torch.cuda.is_available() else torch.device("cpu")
        declared = declared_tensors(getattr(context, "model_yaml_config", None))
        self.model = load_named(Path(properties["model_dir"]) / model["serializedFile"], device, declared, shared=True)
        self.name, self.version = context.model_name, str(model.get("modelVersion") or "1.0")

    def tensor_metadata(self) -> ModelMetadata:
        """What the model takes and answers."""
        return self.model.metadata

    def infer_tensors(self, requests: Sequence[TensorRequest], _context: Any) -> list[list[Tensor] | PersiaError]:
        """The outputs of each request, or the error that it alone is refused with."""
        return [self.outputs_of(request) for request in requests]

    def outputs_of(self, request: TensorRequest) -> list[Tensor] | PersiaError:
        """Of one request."""
        try:
            return self.model(request.tensors)
        except PersiaError as error:
            return error

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes | str]:
        """Predictions, whose bodies are JSON."""
        answers = [answer_to_body(inputs, self.model, self.name, self.version) for inputs in data]
        for i in range(len(data)):
            context.set_response_content_type(i, "application/json")
        return with_refusals(context, answers)
