"""What goes wrong in a user's function, as an error that its caller, or whoever runs the server, can read."""

from __future__ import annotations

import logging

from ts.utils.util import PredictionException

from persia.errors import AccessDenied, DeadlineExceeded, InvalidInput, NotFound, PersiaError, TooLarge, Unavailable

__all__ = ["failure_of"]

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
    log.error("%s failed", where, exc_info=error)
    words = str(error).strip() or "without a word"
    if isinstance(error, MemoryError) or "can't allocate memory" in words or "out of memory" in words:
        return TooLarge(f"{where} needs more memory than the model may use: {words.splitlines()[0]}")
    kind = InvalidInput if of_input and isinstance(error, _OF_INPUT) else PersiaError
    return kind(f"{where} failed for this request: {type(error).__name__}: {words.splitlines()[-1]}")
