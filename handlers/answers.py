"""Scores as bytes, in the format that a request asks for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from persia import _core
from persia.dense.outputs import named_outputs
from persia.errors import InvalidInput, PersiaError
from persia.torchserve.scores import FORMAT, JSON, NPY, NPZ, RAW, SCORES, encode_named_scores, encode_scores

__all__ = ["answer_of", "arrays_of", "format_of", "json_lines"]

FORMATS = (JSON, NPY, NPZ, RAW)

_Arrays = Mapping[str | None, npt.NDArray[Any]]


def format_of(request: Mapping[str, Any]) -> bytes:
    """The format in which a request asks for its scores. Raises InvalidInput."""
    asked = request.get(FORMAT) or JSON
    asked = asked.encode(errors="replace") if isinstance(asked, str) else bytes(asked)
    if asked not in FORMATS:
        known = ", ".join(name.decode() for name in FORMATS)
        raise InvalidInput(f"expected one of {known} as `{FORMAT}`, got {asked[:40]!r}")
    return asked


def answer_of(answer: Any, request: Mapping[str, Any], non_finite: str = "error") -> bytes:
    """Encodes what the model answered, in the format that the request asks for.

    answer: a tensor, a tuple or list of tensors, or a dict of tensors. non_finite: the setting `non_finite_scores`.
    Raises InvalidInput if the format cannot hold several outputs, and PersiaError if the scores cannot be sent.
    """
    asked = format_of(request)
    outputs = named_outputs(answer)
    alone = None in outputs
    if asked == RAW and not alone:
        raise InvalidInput(
            f"expected json, npy or npz as `{FORMAT}` of a model with the outputs {', '.join(map(str, outputs))}, got raw"
        )
    arrays = arrays_of(outputs, non_finite)
    if asked == JSON:
        return json_lines(arrays[None].reshape(-1).tolist()) if alone else _json_object(arrays)
    if asked == RAW:
        return arrays[None].astype("<f4", copy=False).tobytes()
    if asked == NPY and alone:
        return encode_scores(arrays[None])
    return encode_named_scores({SCORES if name is None else name: array for name, array in arrays.items()})


def arrays_of(outputs: Mapping[str | None, torch.Tensor], non_finite: str = "error") -> _Arrays:
    """The outputs that named_outputs() gave. non_finite: the setting `non_finite_scores`. Raises PersiaError."""
    arrays = {name: _array(tensor) for name, tensor in outputs.items()}
    if non_finite == "error":
        _check_finite(arrays)
    return arrays


def json_lines(numbers: list[float]) -> bytes:
    """What TorchServe makes of a list, one number a line, as clients in the field read it. NaN and infinity become null."""
    if not numbers:
        return b"[]"
    if (written := _core.json_lines(numbers)) is not None:
        return written
    lines = _dumps(numbers, separators=(",\n  ", ": "))
    return f"[\n  {lines[1:-1]}\n]".encode()


def _json_object(arrays: _Arrays) -> bytes:
    return _dumps({str(name): array.tolist() for name, array in arrays.items()}).encode()


def _dumps(value: Any, **options: Any) -> str:
    """JSON that every reader takes: Python would write NaN, which is none."""
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_with_nulls(value), allow_nan=False, **options)


def _with_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_nulls(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_with_nulls(one) for one in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None


def _array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    if tensor.dtype == torch.bfloat16:  # which numpy does not have
        tensor = tensor.float()
    array: npt.NDArray[Any] = tensor.cpu().numpy()
    return array


def _check_finite(arrays: _Arrays) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.logical_and.reduce(np.isfinite(array), axis=None):
            place = tuple(np.argwhere(~np.isfinite(array))[0])
            value = "NaN" if np.isnan(array[place]) else "infinity"
            where = f" for sample {place[0]}" if place else ""
            of = f" as {name!r}" if name is not None else ""
            raise PersiaError(
                f"the model answered {value}{where}{of} (the archive's setting `non_finite_scores: null` lets such scores pass)"
            )
