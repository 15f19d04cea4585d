"""What goes wrong in a user's function, as an error that its caller, or whoever runs the server, can read."""

from __future__ import annotations

import logging
import traceback

from ts.utils.util import PredictionException

from persia.errors import AccessDenied, DeadlineExceeded, InvalidInput, NotFound, PersiaError, TooLarge, Unavailable
from persia.torch_errors import last_line, out_of_memory, printable

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
    log.error("%s failed:\n%s", where, printable("".join(traceback.format_exception(error))))
    kind = InvalidInput if of_input and isinstance(error, _OF_INPUT) else PersiaError
    return memory_failure(error, where) or kind(f"{where} failed for this request: {_words(error)}")


def memory_failure(error: Exception, where: str) -> TooLarge | None:
    """The error if there was not enough memory."""
    if not out_of_memory(error):
        return None
    return TooLarge(f"{where} needs more memory than there is, or than system.maxMemory or maxGPUMemory allow: {_words(error)}")


def _words(error: Exception) -> str:
    kind, line = type(error).__name__, last_line(error)
    return kind if line == kind else f"{kind}: {line}"
