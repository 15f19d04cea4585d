"""What the management refuses: TorchServe's statuses, the names of its exceptions, and its words."""

from __future__ import annotations

from typing import ClassVar

from persia.errors import PersiaError

__all__ = [
    "ArchiveUnreadable",
    "BadRequest",
    "DefaultVersion",
    "Duplicate",
    "InvalidKey",
    "ModelNotFound",
    "NotFound",
    "OutOfMemory",
    "Refusal",
    "VersionNotFound",
    "WorkerFailed",
]


class Refusal(PersiaError):
    """`status`: HTTP's; `kind`: the exception's name in answers; `code`: gRPC's."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "InternalServerException"
    code: ClassVar[str] = "INTERNAL"


class BadRequest(Refusal):
    """A parameter is missing or wrong."""

    status, kind, code = 400, "BadRequestException", "INVALID_ARGUMENT"


class ArchiveUnreadable(Refusal):
    """An archive is none, or misses what it must have."""

    status, kind, code = 400, "InvalidModelException", "INVALID_ARGUMENT"


class InvalidKey(Refusal):
    """A key is none, or there is none of that kind."""

    status, kind, code = 400, "InvalidKeyException", "PERMISSION_DENIED"


class NotFound(Refusal):
    """An archive is not where it is looked for."""

    status, kind, code = 404, "ModelNotFoundException", "NOT_FOUND"


class ModelNotFound(NotFound):
    """No model has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Model not found: {name}")


class VersionNotFound(Refusal):
    """The model has no such version."""

    status, kind, code = 404, "ModelVersionNotFoundException", "NOT_FOUND"


class Duplicate(Refusal):
    """The version is registered already."""

    status, kind, code = 409, "ConflictStatusException", "ALREADY_EXISTS"


class DefaultVersion(Refusal):
    """The default version cannot go while others stay."""

    status, kind, code = 403, "InvalidModelVersionException", "FAILED_PRECONDITION"


class WorkerFailed(Refusal):
    """A worker could not load the model."""


class OutOfMemory(WorkerFailed):
    """A worker could not load the model for lack of memory."""

    status = 507
