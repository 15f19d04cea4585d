"""What postprocess_function returns, as the answer on the wire."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from persia.errors import PersiaError

from .jsonpickle_writing import write_jsonpickle

__all__ = ["answer_of", "wants_json"]

_JSON = "application/json"


def answer_of(value: Any, as_json: bool) -> str:
    """JSON with the key `output`: the value, or by default jsonpickle's text of it. Raises PersiaError."""
    if not as_json:
        return json.dumps({"output": write_jsonpickle(value)}, indent=2)
    try:
        return json.dumps({"output": _plain(value)}, allow_nan=False)
    except ValueError as error:
        raise PersiaError(f"expected an answer that JSON can have: {error}") from error


def wants_json(headers: Mapping[str, Any]) -> bool:
    """Whether a caller asks for JSON by name. Most clients accept anything, which is not that."""
    accepted = next((str(value) for name, value in headers.items() if name.lower() == "accept"), "")
    return any(kind.split(";")[0].strip() == _JSON for kind in accepted.split(","))


def _plain(value: Any) -> Any:
    """As JSON has it: lists for tuples, sets, tensors and arrays."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise PersiaError(f"expected postprocess_function to return what JSON can have, got {type(value).__name__}")
