"""Nodes -> frozen structs, by the types of their fields.

Written out instead of msgspec.convert because a message must name keys of a mapping (`$.slots_config.age.dim`), the line,
what was expected *and* what came, and the nearest known key; and because a text field must keep `007` as it was written.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import inspect as types

from persia.config.nodes import List, Map, Node, Scalar, describe

T = TypeVar("T", bound=msgspec.Struct)

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9A-Fa-f]+|0o[0-7]+)")
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def read_struct(node: Map, struct: type[T]) -> T:
    """The struct that `node` describes, or a ConfigError that names the first place where it does not."""
    value: T = _read(node, types.type_info(struct))
    return value


def _read(node: Node, kind: types.Type) -> Any:
    if isinstance(kind, types.Metadata):
        read: Callable[[Node], Any] | None = (kind.extra or {}).get("read")
        return read(node) if read else _read(node, kind.type)
    if isinstance(kind, types.StructType):
        return _read_struct(node, kind)
    if isinstance(kind, types.UnionType):  # only ever `X | None`
        if isinstance(node, Scalar) and node.is_null:
            return None
        return _read(node, next(t for t in kind.types if not isinstance(t, types.NoneType)))
    if isinstance(kind, types.DictType):
        if isinstance(node, Scalar) and node.is_null:
            return {}
        if not isinstance(node, Map):
            raise node.error(f"expected a mapping, got {describe(node)}")
        return {key: _read(value, kind.value_type) for key, value in node.entries.items()}
    if isinstance(kind, types.VarTupleType):
        if not isinstance(node, List):
            raise node.error(f"expected a list, got {describe(node)}")
        return tuple(_read(item, kind.item_type) for item in node.items)
    if isinstance(node, Scalar) and (value := _read_scalar(node, kind)) is not None:
        return value
    raise node.error(f"expected {expectation(kind)}, got {describe(node)}")


def _read_struct(node: Node, kind: types.StructType) -> Any:
    if isinstance(node, Scalar) and node.is_null:
        node = Map(node.path, node.line, node.file)  # `section:` with every key below it commented out
    if not isinstance(node, Map):
        raise node.error(f"expected a mapping, got {describe(node)}")
    fields = {f.name: f for f in kind.fields}
    for key, value in node.entries.items():
        if key not in fields:
            raise value.error(f"unknown key `{key}`{_nearest(key, list(fields))}")
    for name, f in fields.items():
        if f.required and name not in node.entries:
            raise node.error(f"expected the key `{name}`, got none")
    return kind.cls(**{key: _read(value, fields[key].type) for key, value in node.entries.items()})


def _nearest(key: str, known: list[str]) -> str:
    if close := difflib.get_close_matches(key, known, n=1):
        return f", did you mean `{close[0]}`?"
    return f", known here: {', '.join(f'`{name}`' for name in known)}"


def _read_scalar(node: Scalar, kind: types.Type) -> Any:
    """The value, or None if it is not one of this kind."""
    if isinstance(kind, types.StrType):
        return None if node.is_null or len(node.text) < (kind.min_length or 0) else node.text
    if isinstance(kind, types.LiteralType):
        return node.text if node.text in kind.values else None
    if not node.plain:
        return None
    if isinstance(kind, types.BoolType):
        return _BOOLEANS.get(node.text)
    if isinstance(kind, types.FloatType):
        return float(node.text) if len(node.text) <= 64 and _NUMBER.fullmatch(node.text) else None
    assert isinstance(kind, types.IntType), kind
    if len(node.text) > 64 or not _INTEGER.fullmatch(node.text):
        return None
    value = int(node.text.replace("_", ""), 0)
    low, high = kind.ge, kind.le
    return value if (low is None or value >= low) and (high is None or value <= high) else None


def expectation(kind: types.Type) -> str:
    """A type in words: `an integer from 1 to 63`. Also what the documentation calls it."""
    if isinstance(kind, types.Metadata):
        return str((kind.extra or {}).get("type") or expectation(kind.type))
    if isinstance(kind, types.UnionType):
        return expectation(next(t for t in kind.types if not isinstance(t, types.NoneType)))
    if isinstance(kind, types.IntType):
        if kind.ge is not None and kind.le is not None:
            return f"an integer from {kind.ge} to {kind.le}"
        return "an integer" if kind.ge is None else f"an integer >= {kind.ge}"
    if isinstance(kind, types.FloatType):
        return "a number"
    if isinstance(kind, types.BoolType):
        return "true or false"
    if isinstance(kind, types.LiteralType):
        return " or ".join(f"`{value}`" for value in kind.values)
    if isinstance(kind, types.VarTupleType):
        return f"a list, each {expectation(kind.item_type)}"
    return "a text" if not getattr(kind, "min_length", None) else "a text that is not empty"
