"""Errors to gRPC statuses and back: the caller of a service catches the class that the service raised."""

from __future__ import annotations

import logging

import grpc

from persia.errors import AccessDenied, DeadlineExceeded, InvalidInput, NotFound, PersiaError, TooLarge, Unavailable

__all__ = ["code_name_of", "error_of", "error_of_code", "status_of"]

log = logging.getLogger(__name__)

# One class per status: those whose constructors take more than a message come back as their base.
_CLASSES: dict[grpc.StatusCode, type[PersiaError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: TooLarge,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


def code_name_of(error: Exception) -> str:
    """The name of the status that an error becomes."""
    return error.code if isinstance(error, PersiaError) else PersiaError.code


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """What the caller is told. An error that is not ours is logged here with its traceback, and tells the caller nothing."""
    if isinstance(error, PersiaError):
        return grpc.StatusCode[error.code], str(error)
    log.error("internal error", exc_info=error)
    return grpc.StatusCode.INTERNAL, "internal error: see the server's log"


def error_of(code: grpc.StatusCode, message: str) -> PersiaError:
    """The error that stands for a status that a service answered with."""
    return _CLASSES.get(code, PersiaError)(message)


def error_of_code(code: int, message: str) -> PersiaError:
    """As error_of, for the number of a status."""
    for status in grpc.StatusCode:
        if status.value[0] == code:
            return error_of(status, message)
    return PersiaError(message)
