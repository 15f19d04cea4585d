"""What PersiaHandler answers by the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from persia.dense.outputs import named_outputs
from persia.errors import PersiaError
from persia.handlers.answers import arrays_of
from persia.handlers.drift_hook import watch_answers
from persia.handlers.model_errors import error_of_model, scores_of
from persia.handlers.tensor_requests import inputs_of_tensors
from persia.open_inference.tensors import Tensor, TensorRequest
from persia.torchserve.scores import REQUEST_ID, SCORES

__all__ = ["answer_tensors"]


def answer_tensors(handler: Any, requests: Sequence[TensorRequest]) -> list[list[Tensor] | PersiaError]:
    """handler: a PersiaHandler. The outputs of each request, or the error that it alone is refused with.

    Raises PersiaError where all are refused.
    """
    asked: list[list[dict[str, bytes]] | PersiaError] = []
    for request in requests:
        try:
            asked.append(inputs_of_tensors(request, handler.signature))
        except PersiaError as error:
            asked.append(error)
    flat = [one for inputs in asked if not isinstance(inputs, PersiaError) for one in inputs]
    scored = iter(_scored(handler, flat) if flat else ())
    answers: list[list[Tensor] | PersiaError] = []
    for inputs in asked:
        if isinstance(inputs, PersiaError):
            answers.append(inputs)
        else:
            answers.append(_joined([next(scored) for _ in inputs]))
    return answers


def _scored(handler: Any, inputs: list[dict[str, bytes]]) -> list[list[Tensor] | PersiaError]:
    """Of each batch."""
    try:
        features = handler.in_time(handler.preprocess(inputs))
        going = [i for i, one in enumerate(features) if not isinstance(one, PersiaError)]
        scores = dict(zip(going, scores_of(handler, [features[i] for i in going]), strict=True)) if going else {}
        fine = [i for i in going if not isinstance(scores[i], PersiaError)]
        if handler.drift is not None:
            names = [inputs[i].get(REQUEST_ID, b"").decode() for i in fine]
            watch_answers(handler.drift, [features[i] for i in fine], [scores[i] for i in fine], lambda i: names[i])
    except Exception as error:
        raise error_of_model(error) from error
    return [_tensors(handler, scores[i]) if i in scores else one for i, one in enumerate(features)]


def _tensors(handler: Any, answer: Any) -> list[Tensor] | PersiaError:
    if isinstance(answer, PersiaError):
        return answer
    try:
        arrays = arrays_of(named_outputs(answer), handler.non_finite_scores)
        return [Tensor.of(SCORES if name is None else name, array) for name, array in arrays.items()]
    except PersiaError as error:
        return error


def _joined(answers: list[list[Tensor] | PersiaError]) -> list[Tensor] | PersiaError:
    """Those of a request's batches, one after the other."""
    outputs: list[list[Tensor]] = []
    for answer in answers:
        if isinstance(answer, PersiaError):
            return answer
        outputs.append(answer)
    if len(outputs) == 1:
        return outputs[0]
    joined = []
    for name, datatype in [(tensor.name, tensor.datatype) for tensor in outputs[0]]:
        arrays = [np.atleast_1d(tensor.array) for answer in outputs for tensor in answer if tensor.name == name]
        joined.append(Tensor(name, datatype, np.concatenate(arrays)))
    return joined
