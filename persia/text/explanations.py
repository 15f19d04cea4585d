"""Which words an answer came from: integrated gradients on the output of the model's embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from persia.errors import InvalidInput

from .bodies import json_body
from .brief import brief
from .model import TextModel
from .pretrained import PretrainedEngine
from .requests import Request
from .tasks import spans_of
from .tokenizer import Tokens

__all__ = ["Attribution", "attribute", "explain"]

# As many steps between the empty text and the text as captum takes by default, at the nodes of Gauss and Legendre.
STEPS = 50
# All steps of a long text together would take gigabytes.
TOKENS_AT_ONCE = 2048


@dataclass(frozen=True)
class Attribution:
    """importances: a number for each token; their squares sum up to one. delta: how far off the unscaled sum is."""

    importances: list[float]
    delta: float


def explain(model: TextModel, request: Request) -> str:
    """The body of an answer: the words and their importances, as the example has them. Raises InvalidInput, PersiaError."""
    if not isinstance(model.engine, PretrainedEngine):
        raise InvalidInput(
            "expected a request for a prediction: the model is a compiled one (TorchScript, ONNX or .pt2), through which no "
            "gradients can be followed; an archive of the save_pretrained folder explains its answers"
        )
    if model.mode == "text_embedding":
        raise InvalidInput("expected a request for a prediction: a vector is no answer that words could be the reason of")
    if request.many:
        raise InvalidInput(f"expected one text to explain, got a list of {len(request.texts)}")
    (text,) = request.texts
    tokens = model.tokenize(text)
    words = {"words": [word.replace("\u0120", "") for word in tokens.words]}
    if model.mode == "question_answering":
        start, end = _positions(model, tokens, request.target)
        starts = attribute(model, tokens, lambda outputs: outputs[0][:, start])
        ends = attribute(model, tokens, lambda outputs: outputs[1][:, end])
        found = {
            "importances_answer_start": starts.importances,
            "importances_answer_end": ends.importances,
            "delta_start": starts.delta,
            "delta_end": ends.delta,
        }
    else:
        attribution = attribute(model, tokens, _output_of(model, tokens, request.target))
        found = {"importances": attribution.importances, "delta": attribution.delta}
    return json_body({**words, **found})


def attribute(model: TextModel, tokens: Tokens, output: Callable[[Any], torch.Tensor]) -> Attribution:
    """output: takes the model's outputs for a batch, and gives the number for each that is to be explained."""
    engine = model.engine
    assert isinstance(engine, PretrainedEngine)
    ids = torch.tensor([tokens.ids], device=engine.device)
    # The text without its words: special tokens stay.
    pads = [model.tokenizer.pad_id if of is not None else i for i, of in zip(tokens.ids, tokens.sequences, strict=True)]
    embeddings = _embeddings_of(engine.model, model.settings.embedding_name)
    types = model.type_ids(tokens)
    extra = {"token_type_ids": torch.tensor([types], device=engine.device)} if any(types) else {}

    def forward(count: int, replace: torch.Tensor | None, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What is to be explained, and what the embeddings gave or were replaced by."""
        seen: list[torch.Tensor] = []

        def hook(_module: Any, _arguments: Any, given: torch.Tensor) -> torch.Tensor:
            seen.append(given if replace is None else replace)
            return seen[-1]

        handle = embeddings.register_forward_hook(hook)
        try:
            arguments = {name: values.expand(count, -1) for name, values in {"input_ids": inputs, **extra}.items()}
            mask = torch.ones_like(arguments["input_ids"])
            return output(engine.model(**arguments, attention_mask=mask, return_dict=False)), seen[-1]
        finally:
            handle.remove()

    with torch.no_grad():
        at_text, text_vectors = forward(1, None, ids)
        at_empty, empty_vectors = forward(1, None, torch.tensor([pads], device=engine.device))
    nodes, weights = np.polynomial.legendre.leggauss(STEPS)
    alphas = torch.tensor((nodes + 1) / 2, dtype=torch.float32, device=engine.device)[:, None, None]
    of_steps = torch.tensor(weights / 2, dtype=torch.float32, device=engine.device)[:, None, None]
    together = max(1, TOKENS_AT_ONCE // len(tokens.ids))
    gradient = torch.zeros_like(text_vectors[0])
    for alpha, weight in zip(alphas.split(together), of_steps.split(together), strict=True):
        step = (empty_vectors + alpha * (text_vectors - empty_vectors)).requires_grad_()
        with torch.enable_grad():
            along, _ = forward(len(step), step, ids)
            (gradients,) = torch.autograd.grad(along.sum(), step)
        gradient += (gradients * weight).sum(0)
    parts = gradient * (text_vectors - empty_vectors)[0]
    summed = parts.sum(-1)
    delta = parts.double().sum() - (at_text - at_empty).double().sum()
    return Attribution((summed / summed.norm().clamp_min(1e-30)).tolist(), float(delta))


def _output_of(model: TextModel, tokens: Tokens, target: Any) -> Callable[[Any], torch.Tensor]:
    """The logit that the target names: a class, or the place of a token and a class. Without a target that of the answer."""
    classes = len(model.labels)
    if model.mode == "sequence_classification":
        label = int(model.run(tokens)[0].argmax()) if target is None else target
        if not _is_index(label, classes):
            raise InvalidInput(f"expected the number of a class from 0 to {classes - 1} as `target`, got {brief(label)}")
        return lambda outputs: outputs[0][:, label]
    if target is None:
        target = _surest_tag(model.run(tokens), tokens)
    fits = isinstance(target, (tuple, list)) and len(target) == 2
    if not fits or not _is_index(target[0], len(tokens.ids)) or not _is_index(target[1], classes):
        raise InvalidInput(
            f"expected the place of a token from 0 to {len(tokens.ids) - 1} and the number of a class from 0 to {classes - 1}, "
            f"such as [1, 0], as `target`, got {brief(target)}"
        )
    place, label = target
    return lambda outputs: outputs[0][:, place, label]


def _surest_tag(numbers: np.ndarray, tokens: Tokens) -> tuple[int, int]:
    """The token with the greatest logit and its class: of the text's tokens, if it has any, and never of the padding."""
    places = [i for i, sequence in enumerate(tokens.sequences) if sequence is not None] or range(len(tokens.ids))
    place = max(places, key=lambda i: float(numbers[i].max()))
    return place, int(numbers[place].argmax())


def _positions(model: TextModel, tokens: Tokens, target: Any) -> tuple[int, int]:
    """The tokens whose start and end are explained: the target for both, as in the example, else those of the answer."""
    if target is None:
        spans = spans_of(model.run(tokens)[:, : len(tokens.ids)], tokens.sequences, model.settings)
        if not spans:
            raise InvalidInput("expected a context with words in it, got none: there is no answer to explain")
        return spans[0].start, spans[0].end
    if not _is_index(target, len(tokens.ids)):
        raise InvalidInput(f"expected the place of a token from 0 to {len(tokens.ids) - 1} as `target`, got {brief(target)}")
    return target, target


def _is_index(value: Any, count: int) -> bool:
    return type(value) is int and 0 <= value < count


def _embeddings_of(model: Any, name: str | None) -> Any:
    """The module whose output is the input of the first layer: words, positions and all, where the model has one such."""
    base = getattr(model, name, None) if name else None
    base = model.base_model if base is None else base
    found = getattr(base, "embeddings", None)
    return found if found is not None else model.get_input_embeddings()
