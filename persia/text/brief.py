"""Values of others in messages: never longer than a line, however large they are."""

from __future__ import annotations

import reprlib
from typing import Any

__all__ = ["brief"]

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxtuple, _SHORT.maxstring, _SHORT.maxother = 2, 4, 4, 4, 60, 60


def brief(value: Any) -> str:
    """Its beginning, as Python writes it; never all of it first, as a few lines of YAML can stand for gigabytes."""
    try:
        return _SHORT.repr(value)[:200]
    except ValueError:
        return "a number of thousands of digits"
