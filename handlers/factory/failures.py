"""What goes wrong in a user's function, as an error that its caller, or whoever runs the server, can read."""

from __future__ import annotations

import logging
import traceback

from ts.utils.util import PredictionException

from persia.errors import AccessDenied, DeadlineExceeded, InvalidInput, NotFound, PersiaError, TooLarge, Unavailable

__all__ = ["failure_of", "memory_failure"]

log = logging.getLogger(__name__)

_OF_CODES: dict[int, type[PersiaError]] = {
    403: AccessDenied,
    404: NotFound,
    413: TooLarge,
    503: Unavailable,
    504: DeadlineExceeded,
}
# As code raises them when it meets what it does not expect: a list of another length, a key that is not there.
_OF_INPUT = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def failure_of(error: Exception, where: str, *, of_input: bool = True) -> PersiaError:
    """The error of one sample.

    where: the function that raised it. of_input: whether what a caller sent is the likely reason.
    """
    if isinstance(error, PersiaError):
        return error
    if isinstance(error, PredictionException):
        refused = 400 <= error.error_code < 500
        return _OF_CODES.get(error.error_code, InvalidInput if refused else PersiaError)(str(error.message))
    log.error("%s failed:\n%s", where, _printable("".join(traceback.format_exception(error))))
    kind = InvalidInput if of_input and isinstance(error, _OF_INPUT) else PersiaError
    return memory_failure(error, where) or kind(f"{where} failed for this request: {_words(error)}")


def memory_failure(error: Exception, where: str) -> TooLarge | None:
    """The error if there was not enough memory. torch raises a RuntimeError like any other, on the CPU and on GPUs."""
    if not isinstance(error, MemoryError) and not any(
        words in str(error) for words in ("can't allocate memory", "out of memory")
    ):
        return None
    return TooLarge(f"{where} needs more memory than there is, or than system.maxMemory or maxGPUMemory allow: {_words(error)}")


def _words(error: Exception) -> str:
    """On one line, which is the last one: TorchScript puts its stack before the reason."""
    lines = _printable(str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__


def _printable(text: str) -> str:
    """What callers send may be half of a character, which no file can be written with."""
    return text.encode(errors="backslashreplace").decode()
