"""What rows and lookups cost, as the measured points say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from persia._core import bytes_per_row
from persia.planning.fit import Misfit, fit_prices, misfit_of
from persia.planning.latency import Pauses
from persia.planning.points import EpochPoint, LookupPoint, MemoryPoint, Points, Through, fitted, held_out
from persia.planning.shape import Shape
from persia.planning.workload import Storage

__all__ = ["CostModel"]

_Prices = npt.NDArray[np.float64]

# So many calls meet a pause; how long pauses are is fitted to the 99th percentiles.
_PAUSED = 0.02


def _row_counts(storage: Storage, dim: int) -> list[float]:
    return [1.0, bytes_per_row(storage, dim)]


def _shard_counts(shape: Shape) -> list[float]:
    return [shape.asked, shape.parts, shape.all_signs, shape.all_signs * shape.dim, shape.answer_numbers_bytes]


def _router_counts(shape: Shape) -> list[float]:
    return [1.0, shape.asked, shape.parts, shape.positions, shape.answer_numbers_bytes, shape.tensor_numbers]


class CostModel:
    """Prices are fitted when they are first needed."""

    def __init__(self, points: Points) -> None:
        self.points = points

    def row_bytes(self, storage: Storage, dim: int) -> float:
        """Of a row in a table, with its part of the index."""
        return float(np.dot(self._memory_prices, _row_counts(storage, dim)))

    def changed_row_bytes(self, storage: Storage, dim: int) -> float:
        """Of a row that an earlier epoch has otherwise."""
        return float(np.dot(self._epoch_prices, _row_counts(storage, dim)))

    def shard_seconds(self, shape: Shape) -> float:
        """Of processors for a lookup, in all servers together."""
        return float(np.dot(self._shard_prices, _shard_counts(shape)))

    def router_seconds(self, shape: Shape, through: Through) -> float:
        """Of processors for a lookup, in a middleware or in a handler's process."""
        return float(np.dot(self._router_prices[through], _router_counts(shape)))

    @cached_property
    def hop_seconds(self) -> dict[Through, float]:
        """What a lookup of one caller takes beyond the work of processors: waking up, and the way through the kernel."""
        found: dict[Through, float] = {}
        for through in ("handlers", "middleware"):
            rest = [point.p50 - self._work(point) for point in fitted(self.points.through(through))]
            found[through] = max(0.0, float(np.median(rest)))
        return found

    @cached_property
    def pauses(self) -> Pauses:
        """What calls met on the machine where the points were measured."""
        means = [(point.p99 - point.p50) / _until_p99(point.shape.asked) for point in fitted(self.points.lookups)]
        return Pauses(_PAUSED, max(1e-6, float(np.median(means))))

    @cached_property
    def misfits(self) -> dict[str, Misfit]:
        """How far off the model is at the points that were held out, by what it says."""
        points = self.points
        memory, epochs, lookups = held_out(points.memory), held_out(points.epochs), held_out(points.lookups)
        return {
            "memory": _misfit(memory, lambda p: (self.row_bytes(p.storage, p.dim), p.bytes_per_row)),
            "epochs": _misfit(epochs, lambda p: (self.changed_row_bytes(p.storage, p.dim), p.bytes_per_changed_row)),
            "servers": _misfit(lookups, lambda p: (self.shard_seconds(p.shape), p.shard_seconds)),
            "routers": _misfit(lookups, lambda p: (self.router_seconds(p.shape, p.through), p.router_seconds)),
            "p50": _misfit(lookups, lambda p: (self._p50(p), p.p50)),
            "p99": _misfit(lookups, lambda p: (self._p99(p), p.p99)),
        }

    def _work(self, point: LookupPoint) -> float:
        """Seconds for which the one caller of a point waits for processors at work: the router's, then those of the shards.

        The shards share the processors of the machine.
        """
        side_by_side = min(point.shape.asked, self.points.cores)
        return self.router_seconds(point.shape, point.through) + self.shard_seconds(point.shape) / side_by_side

    def _p50(self, point: LookupPoint) -> float:
        return self._work(point) + self.hop_seconds[point.through]

    def _p99(self, point: LookupPoint) -> float:
        return self._p50(point) + self.pauses.mean * _until_p99(point.shape.asked)

    @cached_property
    def _memory_prices(self) -> _Prices:
        return _row_prices(fitted(self.points.memory), lambda point: point.bytes_per_row)

    @cached_property
    def _epoch_prices(self) -> _Prices:
        return _row_prices(fitted(self.points.epochs), lambda point: point.bytes_per_changed_row)

    @cached_property
    def _shard_prices(self) -> _Prices:
        return _prices(fitted(self.points.lookups), _shard_counts, lambda point: point.shard_seconds)

    @cached_property
    def _router_prices(self) -> dict[Through, _Prices]:
        ways: tuple[Through, ...] = ("handlers", "middleware")
        return {
            way: _prices(fitted(self.points.through(way)), _router_counts, lambda point: point.router_seconds) for way in ways
        }


def _prices(points: list[LookupPoint], counts: Callable[[Shape], list[float]], cost: Callable[[LookupPoint], float]) -> _Prices:
    return fit_prices([counts(point.shape) for point in points], [cost(point) for point in points])


_RowPoint = TypeVar("_RowPoint", MemoryPoint, EpochPoint)
_AnyPoint = TypeVar("_AnyPoint", MemoryPoint, EpochPoint, LookupPoint)


def _row_prices(points: Sequence[_RowPoint], cost: Callable[[_RowPoint], float]) -> _Prices:
    return fit_prices([_row_counts(point.storage, point.dim) for point in points], [cost(point) for point in points])


def _misfit(points: Sequence[_AnyPoint], both: Callable[[_AnyPoint], tuple[float, float]]) -> Misfit:
    """both: what is expected of a point, and what was measured."""
    expected, measured = zip(*map(both, points), strict=True)
    return misfit_of(expected, measured)


def _until_p99(asked: float) -> float:
    """In mean pauses: how long the longest pause of a lookup is at least, in one lookup of a hundred."""
    met = -math.expm1((asked + 1) * math.log1p(-_PAUSED))
    return math.log(met / 0.01)
