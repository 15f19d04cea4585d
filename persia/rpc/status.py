"""Errors to gRPC statuses and back: the caller of a service catches the class that the service raised."""

from __future__ import annotations

import logging

from persia.errors import (
    AccessDenied,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    PersiaError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

__all__ = ["CODE_NAMES", "error_of", "status_of"]

log = logging.getLogger(__name__)

# By their numbers.
CODE_NAMES = (
    *(
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
    ),
    *("RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE"),
    *("DATA_LOSS", "UNAUTHENTICATED"),
)

# One class per status: those whose constructors take more than a message come back as their base.
_CLASSES: dict[str, type[PersiaError]] = {
    kind.code: kind for kind in (InvalidInput, NotFound, AccessDenied, TooLarge, Unauthenticated, Unavailable, DeadlineExceeded)
}


def status_of(error: Exception) -> tuple[int, str]:
    """What the caller is told. An error that is not ours is logged here with its traceback, and tells the caller nothing."""
    if isinstance(error, PersiaError):
        return CODE_NAMES.index(error.code), str(error)
    log.error("internal error", exc_info=error)
    return CODE_NAMES.index(PersiaError.code), "internal error: see the server's log"


def error_of(code_name: str, message: str) -> PersiaError:
    """The error that stands for a status that a service answered with."""
    return _CLASSES.get(code_name, PersiaError)(message)
