"""How long a call takes and how it ends, for metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

__all__ = ["Timer"]

_T = TypeVar("_T")


class Timer(Generic[_T]):
    """With `with`, gives `given`, then calls `took` with the seconds and what was raised. A generator took twice as long."""

    __slots__ = ("_given", "_start", "_took")

    def __init__(self, given: _T, took: Callable[[float, BaseException | None], None]) -> None:
        self._given, self._took, self._start = given, took, time.perf_counter()

    def __enter__(self) -> _T:
        return self._given

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        self._took(time.perf_counter() - self._start, error)
