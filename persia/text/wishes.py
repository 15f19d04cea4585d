"""What callers wish for beside their texts: the form of the answer, how many labels, and what is to be explained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from persia.errors import InvalidInput

from .brief import brief
from .literals import parse_literal

__all__ = ["FORMATS", "WISHES", "Wishes", "check_no_wishes", "shown", "wishes_of"]

FORMATS = ("text", "json", "top_k", "scores", "logits", "offsets")
_TARGET = "target"
WISHES = ("format", "top_k", _TARGET)
_OF_ALL = ("format", "top_k")  # texts of a request
_DIGITS = 9  # of a number of labels


@dataclass(frozen=True)
class Wishes:
    """None: no wish."""

    format: str | None = None
    top_k: int | None = None
    target: Any = None


def wishes_of(value: Mapping[str, Any]) -> Wishes:
    """Those in an object, or in its `parameters`, as pipelines have them. Raises InvalidInput."""
    wishes = {**_parameters(value), **value}
    chosen, top_k, target = (wishes.get(key) for key in WISHES)
    if chosen is not None and chosen not in FORMATS:
        raise InvalidInput(f"expected one of {', '.join(FORMATS)} as `format`, got {shown(chosen)}")
    count = None if top_k is None else _count(top_k)
    if count is not None and count < 1:
        raise InvalidInput(f"expected a number of labels from 1 on as `top_k`, got {shown(top_k)}")
    return Wishes(chosen, count, _target(target))


def _parameters(value: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = value.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, Mapping):
        raise InvalidInput(f"expected an object as `parameters`, got {shown(parameters)}")
    if unknown := [key for key in parameters if key not in WISHES]:
        raise InvalidInput(f"expected {', '.join(WISHES)} in `parameters`, got {str(unknown[0])[:40]!r}")
    return parameters


def check_no_wishes(value: Any) -> None:
    """For what stands in a list or in another object, where wishes would be lost. Raises InvalidInput."""
    if isinstance(value, Mapping) and _TARGET in value:
        raise InvalidInput(
            f"expected a text, got `{_TARGET}` beside it: it says what to explain, and an explanation is of one text, whose "
            f'request is an object such as {{"text": "...", "{_TARGET}": ...}}'
        )
    if isinstance(value, Mapping) and (wishes := [key for key in _OF_ALL if key in value]):
        named = " and ".join(f"`{key}`" for key in wishes)
        raise InvalidInput(
            f"expected a text, got {named} beside it: wishes are for all texts of a request and stand outside, "
            f'such as {{"instances": [...], "{wishes[0]}": ...}}'
        )


def shown(value: Any) -> str:
    """What came, without the texts that are in it."""
    if isinstance(value, Mapping):
        keys = ", ".join(repr(str(key)[:20]) for key in list(value)[:5])
        return f"an object with the keys {keys}" if keys else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "nothing" if value is None else f"a {type(value).__name__}" if isinstance(value, str) else brief(value)


def _count(value: Any) -> int:
    """Of a number or its text; 0 for anything else."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) <= _DIGITS else 0
    return value if type(value) is int else 0


def _target(value: Any) -> Any:
    """A number or a list, which may be written as text. Text that is neither stays one, and is refused where it is used."""
    read = parse_literal(value) if isinstance(value, str) else value
    return value if read is None else read
