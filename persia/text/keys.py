"""The keys of an object that holds a text: one that is not known here would be ignored, whatever its caller meant by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from persia.errors import InvalidInput

from .wishes import WISHES

__all__ = ["KNOWN", "REQUEST_ID", "SECOND_KEY", "TEXT_KEYS", "check_inner_keys", "check_keys"]

# Names under which a text may come. The example's are `data` and `body`, the workshop's is `text`, that of pipelines `inputs`.
TEXT_KEYS = ("text", "data", "inputs", "body")
SECOND_KEY = "text_pair"
REQUEST_ID = "request_id"

_FORMS = (("instances",), ("question", "context"), (*TEXT_KEYS, SECOND_KEY))  # the first whose key is there counts
_BESIDE = (*WISHES, "parameters", REQUEST_ID)
KNOWN = {key for form in _FORMS for key in form} | {*_BESIDE}


def check_keys(value: Mapping[str, Any]) -> None:
    """Of a whole request. Raises InvalidInput."""
    _check(value, _BESIDE)


def check_inner_keys(value: Any) -> None:
    """Of what stands in a list or in another object, for which nothing can be wished. Raises InvalidInput."""
    if isinstance(value, Mapping):
        _check(value, ())


def _check(value: Mapping[str, Any], beside: tuple[str, ...]) -> None:
    form = next(form for form in _FORMS if value.keys() & {*form})  # it was read: one is there
    known = (*form, *beside)
    if unknown := [key for key in value if key not in known]:
        got = " and ".join(repr(str(key)[:40]) for key in unknown[:3])
        there = next(key for key in form if key in value)
        raise InvalidInput(f"expected no keys but {', '.join(known)} in an object with `{there}`, got {got}")
