"""The keys of an archive's model-config.yaml that a server reads, by their types. Handlers get the whole file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .refusals import ArchiveUnreadable
from .traffic import HEADER, Share

__all__ = ["ModelConfig"]

_NUMBERS = frozenset(
    [
        *("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout", "startupTimeout"),
        *("maxRetryTimeoutInSec", "clientTimeoutInMills", "jobQueueSize", "parallelLevel", "memoryLimitMiB"),
    ]
)
_FLAGS = frozenset(["useJobTicket", "useVenv"])
_SHARES = frozenset(["trafficPercent", "stickyBy", "shadowShare"])
_DEVICE_TYPES = ("cpu", "gpu")
# A handler that is written for one of these would answer wrongly without it.
_NOT_SERVED = {
    "torchrun": "the model server starts no ranks of torchrun",
    "parallelType": "the model server starts no ranks of torchrun",
    "continuousBatching": "the model server forms each batch anew",
    "sequenceBatching": "the model server keeps no sequences of requests together",
    "asyncCommunication": "the model server calls `handle`, and awaits nothing",
}
_NOT_SERVED_VALUES = (None, False, "", "custom")  # of those keys: these ask for nothing of the kind
_NOTHING = frozenset(["sequenceMaxIdleMSec", "sequenceTimeoutMSec", "maxSequenceJobQueueSize", "maxNumSequence"])


@dataclass(frozen=True)
class ModelConfig:
    """Typed access. `notes`: what was passed over, for the log."""

    values: Mapping[str, Any]
    notes: tuple[str, ...]

    @staticmethod
    def of(config: Mapping[str, Any]) -> ModelConfig:
        """Wrong values count as left out, as in TorchServe. Raises ArchiveUnreadable for what cannot be served."""
        for key, why in _NOT_SERVED.items():
            if config.get(key) not in _NOT_SERVED_VALUES:
                raise ArchiveUnreadable(f"model-config.yaml asks for {key}: {config[key]}, and {why}; TorchServe does")
        values: dict[str, Any] = {}
        notes: list[str] = []
        for key, value in config.items():
            if (problem := _problem(key, value)) is None:
                values[key] = value
            else:
                notes.append(f"{key} of model-config.yaml has no effect: {problem}")
        return ModelConfig(values, tuple(notes))

    def __bool__(self) -> bool:
        return bool(self.values)

    def number(self, key: str) -> int | None:
        """None: it does not say."""
        value = self.values.get(key)
        return value if isinstance(value, int) else None

    def flag(self, key: str) -> bool:
        """False if it does not say."""
        return self.values.get(key) is True

    @property
    def workers(self) -> tuple[int, int] | None:
        """The least and the most; None unless both make sense."""
        least, most = self.number("minWorkers") or 0, self.number("maxWorkers") or 0
        return (least, most) if 0 < least <= most else None

    @property
    def device_type(self) -> str | None:
        """`cpu`, `gpu`; None: it does not say."""
        value = self.values.get("deviceType")
        return str(value).lower() if value else None

    @property
    def device_ids(self) -> tuple[int, ...]:
        """Empty: all that there are."""
        return tuple(self.values.get("deviceIds") or ())

    @property
    def share(self) -> Share:
        """Of the requests that name no version, which this one takes when it comes."""
        return Share(
            self.number("trafficPercent") or 0, self.values.get("stickyBy") or "", float(self.values.get("shadowShare") or 0)
        )


def _problem(key: str, value: Any) -> str | None:
    if key in _SHARES:
        return _problem_of_share(key, value)
    if key in _NUMBERS:
        return (
            None
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0
            else f"expected a whole number that is not below 0, got {value!r}"
        )
    if key in _FLAGS:
        return None if isinstance(value, bool) else f"expected true or false, got {value!r}"
    if key == "deviceType":
        return None if str(value).lower() in _DEVICE_TYPES else f"expected cpu or gpu, got {value!r}"
    if key == "deviceIds":
        is_list = isinstance(value, list) and all(isinstance(one, int) and one >= 0 for one in value)
        return None if is_list else f"expected a list of numbers, got {value!r}"
    if key in _NOTHING:
        return "the model server keeps no sequences of requests together"
    if key in _NUMBERS | _FLAGS | _NOT_SERVED.keys():
        return None
    known = [*_NUMBERS, *_FLAGS, *_SHARES, *_NOT_SERVED, *_NOTHING, "deviceType", "deviceIds"]
    near = difflib.get_close_matches(key, known, 1, 0.85)
    return f"did you mean {near[0]}?" if near else None


def _problem_of_share(key: str, value: Any) -> str | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if key == "trafficPercent":
        return None if isinstance(value, int) and is_number and 0 <= value <= 100 else f"expected 0 to 100, got {value!r}"
    if key == "shadowShare":
        return None if is_number and 0 <= value <= 1 else f"expected a number from 0 to 1, got {value!r}"
    is_header = isinstance(value, str) and HEADER.fullmatch(value)
    return None if is_header else f"expected the name of a header, got {value!r}"
