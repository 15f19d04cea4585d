"""A time limit for calls of a library that has none: whoever waits gives up, and the call goes on without him."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from typing import TypeVar

__all__ = ["CALL", "within"]

CALL = "store-call"  # the name of the thread of a call

_T = TypeVar("_T")


def within(seconds: float, call: Callable[[], _T]) -> _T:
    """What the call returns, or raises. Raises TimeoutError: it does not within that time.

    Then its thread waits until the other end answers or the connection breaks; it keeps no process from ending.
    """
    result: Future[_T] = Future()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, name=CALL, daemon=True).start()
    try:
        return result.result(seconds)
    except NotDone:
        if result.done():  # the call itself has raised that
            raise
        raise TimeoutError(f"no answer came within {seconds:g} s") from None
