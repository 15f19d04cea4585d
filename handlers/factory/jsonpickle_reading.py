"""jsonpickle's text, read as plain data.

jsonpickle itself calls whatever function a text names. Here no name is ever looked up: what is no number, text, list, object,
tuple, set, bytes or array of numbers is refused.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from persia.errors import InvalidInput

from . import jsonpickle_arrays as arrays
from .allowance import MAX_BYTES, Allowance

__all__ = ["read_json_value", "read_jsonpickle"]

_TAG = "py/"


def read_jsonpickle(text: str | bytes | bytearray, most_bytes: int = MAX_BYTES) -> Any:
    """What was encoded. Plain JSON is jsonpickle's text, too. Raises InvalidInput; TooLarge for arrays of more bytes."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"expected JSON, or the text of jsonpickle.encode, got {_start(text)}: {error}") from error
    return read_json_value(parsed, most_bytes)


def read_json_value(parsed: Any, most_bytes: int = MAX_BYTES) -> Any:
    """As read_jsonpickle, of JSON that is parsed already."""
    try:
        return _Reader(Allowance(most_bytes)).read(parsed)
    except RecursionError as error:
        raise InvalidInput("expected fewer lists and objects in one another") from error


def _start(text: str | bytes | bytearray) -> str:
    return f"{text[:40]!r}{'...' if len(text) > 40 else ''}" if text else "nothing"


class _Reader:
    """Reads one text. `seen` are the values that `py/id` counts, as jsonpickle since 2.0 does, each with what it used up."""

    def __init__(self, allowance: Allowance) -> None:
        self.seen: list[tuple[Any, int, int] | None] = []
        self.allowance = allowance
        self.countable = True

    def read(self, value: Any) -> Any:
        self.allowance.use(values=1)
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
        value, values, array_bytes = known
        self.allowance.use(values, array_bytes)
        return value

    def read_reduced(self, content: list[Any]) -> Any:
        """The few forms that numbers come in; the names in them are compared, and not looked up."""
        match content:
            case [
                {"py/function": str(name)},
                _,
                {"py/tuple": [_, {"py/tuple": list(shape)}, dtype, bool(fortran), {"py/b64": str(data)}]},
            ] if name in arrays.NUMPY_ARRAY:
                return self.counted(arrays.numpy_array(self.read(dtype), shape, fortran, data))
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
                        return self.counted(arrays.torch_tensor(data, offset, size, stride))
        raise _refused("py/reduce")

    def read_array_of_numpy_handler(self, value: dict[str, Any]) -> Any:
        """What jsonpickle.ext.numpy writes. How many values it counts for `py/id` depends on its version."""
        self.countable = False
        match value:
            case {"py/object": str(name), "dtype": str(dtype), "value": scalar} if name.startswith("numpy."):
                return arrays.numpy_array_of_list(scalar, dtype)[()]
            case {"py/object": "numpy.ndarray", "dtype": str(dtype), "values": list(values)}:
                return self.counted(arrays.numpy_array_of_list(values, dtype))
            case {"py/object": "numpy.ndarray", "dtype": str(dtype), "values": str(data), "shape": list(shape), **rest}:
                return arrays.numpy_array_of_zlib(data, dtype, rest.get("byteorder", "="), shape, self.allowance)
            case {"py/object": "numpy.ndarray", "dtype": str(dtype), "base": dict(base), "shape": list(shape), **rest}:
                kind = arrays.numpy_dtype(dtype, rest.get("byteorder", "="))
                return self.counted(arrays.numpy_view(self.read(base), kind, shape, rest.get("strides"), rest.get("offset", 0)))
        raise _refused("py/object")

    def counted(self, array: Any) -> Any:
        self.allowance.use(array_bytes=array.nbytes)
        return array

    def remembered(self, make: Any) -> Any:
        """What `make` reads, with a place in the order in which jsonpickle counts."""
        place, before = len(self.seen), self.allowance.used
        self.seen.append(None)
        made = make()
        values, array_bytes = (now - then for now, then in zip(self.allowance.used, before, strict=True))
        self.seen[place] = (made, values, array_bytes)
        return made


def _refused(tag: str) -> InvalidInput:
    return InvalidInput(
        "expected plain data in jsonpickle's text: numbers, text, lists, dicts, tuples, sets, bytes and arrays of numbers; "
        f"got {tag} of something else, which this server never makes: send what it consists of"
    )
