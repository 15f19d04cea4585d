"""What was measured, as files have it: ours, or those of a user's own machine (benchmarks/measure_plan_points.py)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from persia.errors import ConfigError
from persia.planning.shape import Shape
from persia.planning.workload import Storage

__all__ = ["OURS", "EpochPoint", "LookupPoint", "MemoryPoint", "Points", "Through", "load_points"]

OURS = Path(__file__).with_name("points.json")

Through = Literal["handlers", "middleware"]
_Positive = Annotated[float, Meta(gt=0)]
_Count = Annotated[int, Meta(ge=1)]
# So that the model is not fitted to fewer points than it has coefficients by far, and its error is known at all.
LEAST_FITTED, LEAST_HELD_OUT = 3, 1


class _Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    held_out: bool = False  # the model is not fitted to it, but held against it


class MemoryPoint(_Point, frozen=True, kw_only=True):
    """A table's memory."""

    dim: _Count
    storage: Storage
    rows: _Count
    bytes_per_row: _Positive


class EpochPoint(_Point, frozen=True, kw_only=True):
    """The memory of an earlier epoch, for each row that has changed since."""

    dim: _Count
    storage: Storage
    bytes_per_changed_row: _Positive


class LookupPoint(_Point, frozen=True, kw_only=True, dict=True):
    """Lookups of one caller, one after the other. Seconds of a lookup: of processors, and from its begin to its end."""

    through: Through
    samples: _Count
    features: _Count
    ids: _Positive
    signs: _Positive  # different ids of a feature, on average
    dim: _Count
    shards: _Count
    shard_seconds: _Positive  # of the processors, in all embedding servers together
    router_seconds: _Positive  # in the middleware, or in the process that asks the servers itself
    p50: _Positive
    p99: _Positive
    load: Annotated[float, Meta(ge=0)]  # of the machine meanwhile

    @cached_property
    def shape(self) -> Shape:
        return Shape(self.samples, self.features, self.ids, self.signs, self.dim, self.shards)


_Kind = TypeVar("_Kind", bound=_Point)


class Points(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that the model is made of."""

    machine: str
    cores: _Count
    date: str
    process_bytes: _Positive  # of an embedding server without rows
    probe_router_seconds: _Positive  # of the processors: to ask a server how it is
    probe_server_seconds: _Positive  # and to answer that
    memory: list[MemoryPoint]
    epochs: list[EpochPoint]
    lookups: list[LookupPoint]

    def through(self, way: Through) -> list[LookupPoint]:
        return [point for point in self.lookups if point.through == way]


def fitted(points: Sequence[_Kind]) -> list[_Kind]:
    """Those that the model is fitted to."""
    return [point for point in points if not point.held_out]


def held_out(points: Sequence[_Kind]) -> list[_Kind]:
    """Those that it is held against."""
    return [point for point in points if point.held_out]


_DECODER = msgspec.json.Decoder(Points)


def load_points(path: str | os.PathLike[str] = OURS) -> Points:
    """Raises ConfigError for a file that is not there, is no JSON, has other fields, or too few points of a kind."""
    try:
        points = _DECODER.decode(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"expected a file of measured points, got none: {error.strerror}", file=str(path)) from error
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at ")
        raise ConfigError(problem[:1].lower() + problem[1:], place.strip("`") or "$", str(path)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"expected JSON as benchmarks/measure_plan_points.py writes it: {error}", file=str(path)) from error
    kinds: dict[str, Sequence[_Point]] = {
        "memory": points.memory,
        "epochs": points.epochs,
        "lookups through handlers": points.through("handlers"),
        "lookups through middleware": points.through("middleware"),
    }
    for name, of_kind in kinds.items():
        counts = len(fitted(of_kind)), len(held_out(of_kind))
        if counts[0] < LEAST_FITTED or counts[1] < LEAST_HELD_OUT:
            raise ConfigError(
                f"expected at least {LEAST_FITTED} points of {name} to fit and {LEAST_HELD_OUT} to hold out, "
                f"got {counts[0]} and {counts[1]}: without them the plan's error is not known",
                f"$.{name.split()[0]}",
                str(path),
            )
    return points
