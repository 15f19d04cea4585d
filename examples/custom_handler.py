r"""A handler of one's own, in the five steps of TorchServe's: initialize, preprocess, inference, postprocess, handle.

The model is TorchScript that takes a batch of feature vectors and answers a row of logits for each. A request is a JSON list of
numbers, `{"features": [...]}`, or either of them in the form field or gRPC input `data`; its answer is the best label with its
probability. index_to_name.json, if the archive has it, names the labels.

    torch-model-archiver --model-name mine --version 1.0 --serialized-file model.pt --handler examples/custom_handler.py \
        --extra-files index_to_name.json --export-path store
    persia-launcher torchserve --model-store store --models mine.mar --http-port 8080 --no-tokens
    curl 127.0.0.1:8080/predictions/mine -H 'Content-Type: application/json' -d '[0.5, 2, 1.5]'

TorchServe wants exactly one class in this file. What else a handler needs comes by import, or with --extra-files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ts.torch_handler.base_handler import BaseHandler

from persia.errors import InvalidInput, PersiaError
from persia.handlers.outcomes import Outcomes
from persia.handlers.refusals import exception_of, with_refusals
from persia.torch_errors import last_line


class CustomHandler(BaseHandler):  # type: ignore[misc]  # TorchServe has no types
    """The steps take and give a list with an item for each request; an error in an item's place is its refusal."""

    def initialize(self, ctx: Any) -> None:
        """Once in each worker. What is raised here is in model_log.log, and TorchServe starts the worker again."""
        properties = ctx.system_properties
        gpu = properties.get("gpu_id")
        # BaseHandler.initialize sets `device` and `model`, too; who does not call it sets them.
        self.device = torch.device(f"cuda:{gpu}" if torch.cuda.is_available() and gpu is not None else "cpu")
        torch.set_num_threads(1)  # more workers are the way to use more cores
        directory = Path(properties["model_dir"])
        self.model = torch.jit.load(str(directory / ctx.manifest["model"]["serializedFile"]), map_location=self.device).eval()
        names = directory / "index_to_name.json"
        self.labels: Mapping[str, str] = json.loads(names.read_text()) if names.exists() else {}
        self.initialized = True

    def preprocess(self, requests: Sequence[Mapping[str, Any]]) -> list[torch.Tensor | PersiaError]:
        """Requests -> tensors."""
        return [self.features_of(request) for request in requests]

    def features_of(self, request: Mapping[str, Any]) -> torch.Tensor | PersiaError:
        """Of one request: over HTTP JSON comes parsed; over gRPC, and in forms, as bytes."""
        data = request.get("data", request.get("body"))
        try:
            if isinstance(data, (bytes, bytearray, str)):
                data = json.loads(data)
            if isinstance(data, dict):
                data = data["features"]
            features = torch.tensor(data, dtype=torch.float32)
        except (ValueError, TypeError, KeyError) as error:
            return InvalidInput(f"expected a JSON list of numbers, or it as `features` of an object: {error}")
        if features.dim() != 1 or not len(features):
            return InvalidInput(f"expected a list of numbers, got one of the shape {tuple(features.shape)}")
        return features

    def inference(self, input_batch: Sequence[torch.Tensor]) -> list[torch.Tensor | PersiaError]:
        """Tensors -> what the model answers: those of one length go through it together."""
        answers: list[torch.Tensor | PersiaError] = [InvalidInput("not asked yet")] * len(input_batch)
        for length in {len(features) for features in input_batch}:
            chosen = [i for i, features in enumerate(input_batch) if len(features) == length]
            try:
                with torch.inference_mode():
                    rows = self.model(torch.stack([input_batch[i] for i in chosen]).to(self.device)).cpu()
            except RuntimeError as error:
                refusal = InvalidInput(f"the model takes no {length} numbers: {last_line(error)}")
                rows = [refusal] * len(chosen)
            for i, row in zip(chosen, rows, strict=True):
                answers[i] = row
        return answers

    def postprocess(self, inference_output: Sequence[torch.Tensor]) -> list[str]:
        """What the model answers -> what the callers get."""
        answers = []
        for logits in inference_output:
            scores = logits.softmax(0)
            best = int(scores.argmax())
            answers.append(json.dumps({"label": self.labels.get(str(best), str(best)), "score": float(scores[best])}))
        return answers

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """An answer for each of the requests that TorchServe put together; over HTTP a wrong one does not fail the others."""
        try:
            outcomes = Outcomes(context, len(data))
            inputs = outcomes.step(lambda going: self.preprocess([data[i] for i in going]))
            outputs = outcomes.step(lambda going: self.inference([inputs[i] for i in going]))
            answers = outcomes.step(lambda going: self.postprocess([outputs[i] for i in going]))
            refused_or_answered: list[str] = with_refusals(context, outcomes.all(answers))
            return refused_or_answered
        except PersiaError as error:
            raise exception_of(error) from error
