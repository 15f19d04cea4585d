"""Text that jsonpickle decodes into what it is given, byte for byte as jsonpickle writes it."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import torch

from persia.errors import PersiaError

from .jsonpickle_arrays import TORCH_STORAGE, TORCH_TENSOR

__all__ = ["write_jsonpickle"]


def write_jsonpickle(value: Any) -> str:
    """Raises PersiaError for what is no plain data."""
    try:
        return json.dumps(_Writer().written(value))
    except RecursionError as error:
        raise PersiaError("expected an answer of fewer lists and dicts in one another") from error


class _Writer:
    """Writes one text. An object that stands in it twice is written once, and then as its number."""

    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}
        self.alive: list[Any] = []  # or another object could get the id of one that is gone

    def written(self, value: Any) -> Any:
        if value is None or type(value) in (str, bool, int, float):
            return value
        if isinstance(value, bytes):
            return {"py/b64": base64.b64encode(value).decode()}
        if isinstance(value, np.generic):
            return self.written(value.item())
        if isinstance(value, (set, tuple)):
            return {f"py/{'set' if isinstance(value, set) else 'tuple'}": [self.written(item) for item in value]}
        if (number := self.numbers.get(id(value))) is not None:
            return {"py/id": number}
        self.numbered(value)
        if isinstance(value, list):
            return [self.written(item) for item in value]
        if isinstance(value, dict):
            return {_key(key): self.written(item) for key, item in value.items()}
        if isinstance(value, torch.Tensor):
            return self.written_tensor(value)
        if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
            return self.written_array(value)
        raise PersiaError(
            "expected numbers, text, lists, dicts, tuples, sets, bytes, tensors and arrays as an answer, "
            f"got {type(value).__name__}: postprocess_function has to turn it into these"
        )

    def numbered(self, value: Any) -> None:
        self.numbers[id(value)] = len(self.numbers)
        self.alive.append(value)

    def written_tensor(self, tensor: torch.Tensor) -> Any:
        # A copy: pickling a tensor pickles all of its storage, which could be that of a batch.
        storage, offset, size, stride, *_ = tensor.detach().cpu().clone().__reduce_ex__(2)[1]
        self.numbered(storage)
        ((data,),) = storage.__reduce__()[1:2]
        hooks: list[None] = []
        self.numbered(hooks)
        arguments = [_call(TORCH_STORAGE, [{"py/b64": base64.b64encode(data).decode()}]), offset, {"py/tuple": [*size]}]
        none = {"py/reduce": [{"py/type": "collections.OrderedDict"}, {"py/tuple": []}, None, None, {"py/tuple": []}]}
        return _call(TORCH_TENSOR, [*arguments, {"py/tuple": [*stride]}, False, none])

    def written_array(self, array: np.ndarray[Any, Any]) -> Any:
        pickled: Any = array.__reduce__()
        function, arguments, (version, shape, dtype, fortran, data) = pickled
        name = f"{function.__module__}.{function.__name__}"
        first = {"py/tuple": [{"py/type": "numpy.ndarray"}, {"py/tuple": [0]}, self.written(arguments[2])]}
        state = [version, {"py/tuple": [*shape]}, self.written_dtype(dtype), fortran, self.written(data)]
        return {"py/reduce": [{"py/function": name}, first, {"py/tuple": state}]}

    def written_dtype(self, dtype: Any) -> Any:
        if (number := self.numbers.get(id(dtype))) is not None:
            return {"py/id": number}
        self.numbered(dtype)
        code, *flags = dtype.__reduce__()[1]
        parts = [{"py/type": "numpy.dtype"}, {"py/tuple": [code, *flags]}, {"py/tuple": [*dtype.__reduce__()[2]]}]
        return {"py/reduce": parts}


def _call(name: str, arguments: list[Any]) -> Any:
    return {"py/reduce": [{"py/function": name}, {"py/tuple": arguments}]}


def _key(key: Any) -> str:
    """JSON has no other keys than text."""
    text = "null" if key is None else key if isinstance(key, str) else repr(key)
    if text.startswith("py/"):
        raise PersiaError(
            f"expected keys of an answer that do not begin with py/, got {text!r}: jsonpickle reads them as its own"
        )
    return text
