"""Everything that persia-serve raises on purpose.

    PersiaError                      INTERNAL
    ├── InvalidInput                 INVALID_ARGUMENT     an argument is wrong; also a ValueError
    │   ├── FeatureError             INVALID_ARGUMENT     a feature of a batch is wrong; names it
    │   ├── ExportError              INVALID_ARGUMENT     a model cannot be exported, or its export is not the model
    │   ├── NotRepresentable         INVALID_ARGUMENT     another system's table does what no slot can; says what else to do
    │   ├── DuplicateSign            INVALID_ARGUMENT     two rows of a checkpoint have one sign; names it
    │   └── DecodeError              INVALID_ARGUMENT     bytes are not what their format says; names the byte
    ├── NotFound                     NOT_FOUND            what is asked for by name is not there; also a LookupError
    ├── AccessDenied                 PERMISSION_DENIED    a token is missing or wrong; also a PermissionError
    ├── Unauthenticated              UNAUTHENTICATED      a server wants to know who calls; also a PermissionError
    ├── TooLarge                     RESOURCE_EXHAUSTED   more than a stated limit allows
    ├── Overloaded                   RESOURCE_EXHAUSTED   a server has more to do than it can: later, it may have time
    ├── ConfigError                  FAILED_PRECONDITION  a config file is wrong; names the place; also a ValueError
    ├── CorruptFile                  DATA_LOSS            a checkpoint or packet file is broken; names file and byte
    ├── NotReplayable                FAILED_PRECONDITION  what a kept answer was made of is not there any more; names it
    ├── Superseded                   ABORTED              somebody else has committed an epoch since; read the log, try again
    ├── Unavailable                  UNAVAILABLE          a server cannot be reached or is not ready; also a ConnectionError
    └── DeadlineExceeded             DEADLINE_EXCEEDED    the caller's time is over; also a TimeoutError

A message says what was expected, what came and where. `code` is the name of the gRPC status that a server answers with; a
client raises the class of the status it receives. A file that the operating system refuses stays an OSError.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AccessDenied",
    "ConfigError",
    "CorruptFile",
    "DeadlineExceeded",
    "DecodeError",
    "DuplicateSign",
    "ExportError",
    "FeatureError",
    "InvalidInput",
    "NotFound",
    "NotReplayable",
    "NotRepresentable",
    "Overloaded",
    "PersiaError",
    "Superseded",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
]


class PersiaError(Exception):
    """The base of the tree. `args` are those of the constructor, so that an error can go from process to process."""

    code: ClassVar[str] = "INTERNAL"


class InvalidInput(PersiaError, ValueError):
    """An argument is wrong: the caller can mend it and try again."""

    code = "INVALID_ARGUMENT"


class FeatureError(InvalidInput):
    """A feature, dense tensor or label of a batch is wrong. `feature` is its name."""

    def __init__(self, feature: str, problem: str) -> None:
        super().__init__(feature, problem)
        self.feature = feature
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.feature!r}: {self.problem}"


class DecodeError(InvalidInput):
    """Bytes are not what their format says. `byte` counts from the start of the input."""

    def __init__(self, expected: str, got: str, byte: int) -> None:
        super().__init__(expected, got, byte)
        self.expected = expected
        self.got = got
        self.byte = byte

    def __str__(self) -> str:
        return f"at byte {self.byte}: expected {self.expected}, got {self.got}"


class ExportError(InvalidInput):
    """A model cannot be served as it is, or what its export serves is not the model. Says why, and in which feature."""


class NotRepresentable(InvalidInput):
    """What another system does with a table has no form here as yet. Says what does the same."""


class DuplicateSign(InvalidInput):
    """Two rows of a checkpoint have one sign. `sign` is it, `place` where it was found."""

    def __init__(self, sign: int, place: str) -> None:
        super().__init__(sign, place)
        self.sign = sign
        self.place = place

    def __str__(self) -> str:
        return f"expected each sign once, got {self.sign} twice, for {self.place}"


class NotFound(PersiaError, LookupError):
    """What is asked for by its name, such as a model or a version of it, is not there."""

    code = "NOT_FOUND"


class AccessDenied(PersiaError, PermissionError):
    """A token is missing or wrong, or what is asked for is switched off."""

    code = "PERMISSION_DENIED"


class Unauthenticated(PersiaError, PermissionError):
    """A server wants to know who calls, and the caller has no certificate or token, or one that the server does not know."""

    code = "UNAUTHENTICATED"


class TooLarge(PersiaError):
    """More than a stated limit allows."""

    code = "RESOURCE_EXHAUSTED"


class Overloaded(PersiaError):
    """A server has more to do than it can within the caller's time. It has not begun with the call: later, it may have time."""

    code = "RESOURCE_EXHAUSTED"


class ConfigError(PersiaError, ValueError):
    """A config file is wrong. `path` is the place in it, such as `$.slots_config.age.dim`; `file` and `line`, if known."""

    code = "FAILED_PRECONDITION"

    def __init__(self, problem: str, path: str = "$", file: str | None = None, line: int | None = None) -> None:
        super().__init__(problem, path, file, line)
        self.problem = problem
        self.path = path
        self.file = file
        self.line = line

    def __str__(self) -> str:
        place = ", ".join(part for part in (self.file, f"line {self.line}" if self.line else None) if part)
        return f"{place + ': ' if place else ''}{self.problem} - at `{self.path}`"


class CorruptFile(PersiaError):
    """A checkpoint or packet file is broken. `file` is its path, `byte` counts from its start."""

    code = "DATA_LOSS"

    def __init__(self, file: str, expected: str, got: str, byte: int) -> None:
        super().__init__(file, expected, got, byte)
        self.file = file
        self.expected = expected
        self.got = got
        self.byte = byte

    def __str__(self) -> str:
        return f"{self.file} at byte {self.byte}: expected {self.expected}, got {self.got}"


class NotReplayable(PersiaError):
    """A kept answer cannot be made again. `missing` is the part of the receipt for which something is not there."""

    code = "FAILED_PRECONDITION"

    def __init__(self, missing: str, problem: str) -> None:
        super().__init__(missing, problem)
        self.missing = missing
        self.problem = problem

    def __str__(self) -> str:
        return self.problem


class Superseded(PersiaError):
    """Somebody else has committed an epoch since: what was to follow on the older one may not be right any more."""

    code = "ABORTED"


class Unavailable(PersiaError, ConnectionError):
    """A server cannot be reached, or is not ready to serve."""

    code = "UNAVAILABLE"


class DeadlineExceeded(PersiaError, TimeoutError):
    """The time that the caller gave is over."""

    code = "DEADLINE_EXCEEDED"
