"""Answers the tensors that it gets, under their own names, and fails as the parameter `do` says."""

import os
from typing import Any

from ts.utils.util import PredictionException

from persia.errors import Unavailable
from persia.open_inference.tensors import ModelMetadata, TensorRequest, TensorSpec


class EchoTensors:
    def initialize(self, context: Any) -> None:
        pass

    def tensor_metadata(self) -> ModelMetadata:
        return ModelMetadata("test", (TensorSpec("any"),), (TensorSpec("any", "FP32", (-1,)),))

    def infer_tensors(self, requests: list[TensorRequest], context: Any) -> list[Any]:
        answers: list[Any] = []
        for request in requests:
            do = request.parameters.get("do")
            if do == "refuse":
                raise PredictionException("as you wish", 404)
            if do == "raise":
                raise ValueError("something is wrong")
            if do == "die":
                os._exit(3)
            if do == "few":
                return []
            answers.append(Unavailable("this one alone") if do == "alone" else list(request.tensors))
        return answers

    def handle(self, data: Any, context: Any) -> list[Any]:
        return [f"{len(data)} others"] * len(data)
