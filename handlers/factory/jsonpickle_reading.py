"""jsonpickle's text, read as plain data.

jsonpickle itself calls whatever function a text names. Here no name is ever looked up: what is no number, text, list, object,
tuple, set, bytes or array of numbers is refused.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from persia.errors import InvalidInput, TooLarge

from . import jsonpickle_arrays as arrays

__all__ = ["read_json_value", "read_jsonpickle"]

# References can make a short text stand for a long one.
MAX_VALUES = 10_000_000
_TAG = "py/"


def read_jsonpickle(text: str | bytes | bytearray) -> Any:
    """What was encoded. Plain JSON is jsonpickle's text, too. Raises InvalidInput, TooLarge."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"expected JSON, or the text of jsonpickle.encode, got {_start(text)}: {error}") from error
    return read_json_value(parsed)


def read_json_value(parsed: Any) -> Any:
    """As read_jsonpickle, of JSON that is parsed already."""
    try:
        return _Reader().read(parsed)
    except RecursionError as error:
        raise InvalidInput("expected fewer lists and objects in one another") from error


def _start(text: str | bytes | bytearray) -> str:
    return f"{text[:40]!r}{'...' if len(text) > 40 else ''}" if text else "nothing"


class _Reader:
    """Reads one text. `seen` are the values that `py/id` counts, as jsonpickle since 2.0 does, each with its size."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, int] | None] = []
        self.values = 0
        self.countable = True

    def read(self, value: Any) -> Any:
        self.count(1)
        if isinstance(value, list):
            return self.remembered(lambda: [self.read(item) for item in value])
        if not isinstance(value, dict):
            return value
        tags = [key for key in value if key.startswith(_TAG)]
        if not tags:
            return self.remembered(lambda: {key: self.read(item) for key, item in value.items()})
        if tags == ["py/object"]:
            return self.read_array_of_numpy_handler(value)
        if len(value) > 1:
            raise _refused(tags[0])
        return self.read_tagged(tags[0], value[tags[0]])

    def read_tagged(self, tag: str, content: Any) -> Any:
        match tag, content:
            case "py/tuple", list():
                return tuple(self.read(item) for item in content)
            case "py/set", list():
                return self.read_set(content)
            case "py/b64", str():
                return arrays.bytes_of_base64(content)
            case "py/b85", str():
                try:
                    return base64.b85decode(content)
                except ValueError as error:
                    raise InvalidInput(f"expected base 85 at py/b85, got {_start(content)}: {error}") from error
            case "py/id", int():
                return self.read_reference(content)
            case "py/reduce", list():
                return self.remembered(lambda: self.read_reduced(content))
        raise _refused(tag)

    def read_set(self, content: list[Any]) -> set[Any]:
        try:
            return {self.read(item) for item in content}
        except TypeError as error:
            raise InvalidInput(f"expected values that a set can have at py/set: {error}") from error

    def read_reference(self, index: int) -> Any:
        """A value that stands in the text already. jsonpickle writes it so if it was the same object."""
        known = self.seen[index] if self.countable and type(index) is int and 0 <= index < len(self.seen) else None
        if known is None:
            raise InvalidInput(
                f"expected py/id of a value before it, got {index}: jsonpickle.encode(..., make_refs=False) does without"
            )
        value, size = known
        self.count(size)
        return value

    def read_reduced(self, content: list[Any]) -> Any:
        """The few forms that numbers come in; the names in them are compared, and not looked up."""
        match content:
            case [
                {"py/function": str(name)},
                _,
                {"py/tuple": [_, {"py/tuple": list(shape)}, dtype, bool(fortran), {"py/b64": str(data)}]},
            ] if name in arrays.NUMPY_ARRAY:
                return arrays.numpy_array(self.read(dtype), shape, fortran, data)
            case [{"py/type": "numpy.dtype"}, {"py/tuple": [str(code), *_]}, {"py/tuple": [_, str(order), *_]}]:
                return arrays.numpy_dtype(code, order)
            case [{"py/function": str(name)}, {"py/tuple": [dtype, {"py/b64": str(data)}]}] if name in arrays.NUMPY_SCALAR:
                return arrays.numpy_array(self.read(dtype), [], False, data)[()]
            case [{"py/type": "builtins.frozenset"}, {"py/tuple": [list(content)]}]:
                return frozenset(self.remembered(lambda: self.read_set(content)))
            case [
                {"py/function": arrays.TORCH_TENSOR},
                {"py/tuple": [storage, int(offset), {"py/tuple": list(size)}, {"py/tuple": list(stride)}, *_]},
            ]:
                match storage:
                    case {"py/reduce": [{"py/function": arrays.TORCH_STORAGE}, {"py/tuple": [{"py/b64": str(data)}]}]}:
                        self.seen += [None, None]  # the storage, and a dictionary of hooks
                        return arrays.torch_tensor(data, offset, size, stride)
        raise _refused("py/reduce")

    def read_array_of_numpy_handler(self, value: dict[str, Any]) -> Any:
        """What jsonpickle.ext.numpy writes. How many values it counts for `py/id` depends on its version."""
        self.countable = False
        match value:
            case {"py/object": str(name), "dtype": str(dtype), "value": scalar} if name.startswith("numpy."):
                return arrays.numpy_array_of_list(scalar, dtype)[()]
            case {"py/object": "numpy.ndarray", "dtype": str(dtype), "values": list(values)}:
                return arrays.numpy_array_of_list(values, dtype)
            case {"py/object": "numpy.ndarray", "dtype": str(dtype), "values": str(data), "shape": list(shape), **rest}:
                return arrays.numpy_array_of_zlib(data, dtype, rest.get("byteorder", "="), shape)
            case {"py/object": "numpy.ndarray", "dtype": str(dtype), "base": dict(base), "shape": list(shape), **rest}:
                kind = arrays.numpy_dtype(dtype, rest.get("byteorder", "="))
                return arrays.numpy_view(self.read(base), kind, shape, rest.get("strides"), rest.get("offset", 0))
        raise _refused("py/object")

    def remembered(self, make: Any) -> Any:
        """What `make` reads, with a place in the order in which jsonpickle counts."""
        place, before = len(self.seen), self.values
        self.seen.append(None)
        made = make()
        self.seen[place] = (made, self.values - before)
        return made

    def count(self, values: int) -> None:
        self.values += values
        if self.values > MAX_VALUES:
            raise TooLarge(f"expected at most {MAX_VALUES} values in a request, got more, with what its py/id repeat")


def _refused(tag: str) -> InvalidInput:
    return InvalidInput(
        "expected plain data in jsonpickle's text: numbers, text, lists, dicts, tuples, sets, bytes and arrays of numbers; "
        f"got {tag} of something else, which this server never makes: send what it consists of"
    )
