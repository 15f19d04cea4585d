"""What the management refuses: TorchServe's statuses, the names of its exceptions, and its words."""

from __future__ import annotations

from typing import ClassVar

from persia.errors import PersiaError

__all__ = [
    "ArchiveUnreadable",
    "BadRequest",
    "CleaningTimedOut",
    "DefaultVersion",
    "DownloadFailed",
    "Duplicate",
    "FileExists",
    "InvalidKey",
    "ModelNotFound",
    "NoDiskSpace",
    "NoSuchMethod",
    "NoSuchPath",
    "NoWorker",
    "NotFound",
    "NotKept",
    "OutOfMemory",
    "OverMemoryLimit",
    "Refusal",
    "RequirementsFailed",
    "Stopping",
    "TooManyWaiting",
    "VersionNotFound",
    "WorkerFailed",
    "WorkflowNotFound",
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


class RequirementsFailed(Refusal):
    """The packages that an archive asks for could not be installed."""

    status, kind, code = 400, "ModelException", "INVALID_ARGUMENT"

    def __init__(self, model: str, why: str) -> None:
        super().__init__(f"Custom pip package installation failed for model {model}: {why}")


class DownloadFailed(Refusal):
    """An archive could not be fetched."""

    status, kind, code = 400, "DownloadArchiveException", "INVALID_ARGUMENT"

    def __init__(self, url: str) -> None:
        super().__init__(f"Failed to download archive from: {url}")


class FileExists(Refusal):
    """The model store has a file of that name already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Model file already exists {name}")


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


class CleaningTimedOut(Refusal):
    """A version that was unregistered did not end in time."""

    status, kind, code = 408, "RequestTimeoutException", "DEADLINE_EXCEEDED"

    def __init__(self, name: str) -> None:
        super().__init__(f"Timed out while cleaning resources: {name}")


class WorkflowNotFound(Refusal):
    """Workflows are not served, so there is never one."""

    status, kind, code = 404, "WorkflowNotFoundException", "NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"Workflow not found: {name}")


class NoSuchPath(Refusal):
    """Nothing is there."""

    status, kind, code = 404, "ResourceNotFoundException", "NOT_FOUND"


class NoSuchMethod(Refusal):
    """It is there for other methods."""

    status, kind, code = 405, "MethodNotAllowedException", "UNIMPLEMENTED"


class NoWorker(Refusal):
    """Nobody is there to be asked."""

    status, kind, code = 503, "ServiceUnavailableException", "UNAVAILABLE"


class WorkerFailed(Refusal):
    """A worker could not load the model."""


class OutOfMemory(WorkerFailed):
    """A worker could not load the model for lack of memory."""

    status = 507


class OverMemoryLimit(OutOfMemory):
    """A worker has loaded the model, and has more memory by then than it may ever have."""


class NoDiskSpace(Refusal):
    """The disk is full."""

    status, kind, code = 507, "InsufficientStorageException", "RESOURCE_EXHAUSTED"


class NotKept(NoDiskSpace):
    """A change was made, and could not be written to the state directory: a restart would undo it."""


class TooManyWaiting(Refusal):
    """As many calls wait for workers as may."""

    status, kind, code = 429, "ServiceUnavailableException", "RESOURCE_EXHAUSTED"


class Stopping(Refusal):
    """The server takes no models any more."""

    status, kind, code = 503, "ServiceUnavailableException", "UNAVAILABLE"
