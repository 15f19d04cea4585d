"""What counters of servers have done of late: rises within a window of time, rates, and quantiles of durations."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Counters", "Rise", "Window", "quantile", "together"]

# Of one histogram: how many were within each bound and beyond the one before; last, how many beyond all of them.
Counts = tuple[int, ...]
WINDOW_SECONDS = 30.0


@dataclass(frozen=True)
class Counters:
    """What a server has counted since its start, at a moment.

    `features`: ids, new ids, of another dim, cut, by name. `variants`: lookups by name; an empty one: of unknown variants.
    """

    when: float
    start: int  # tells this start of the server from others
    lookups: Counts = ()
    failed: int = 0
    delays: Counts = ()
    features: Mapping[str, Counts] = field(default_factory=dict)
    variants: Mapping[str, Counts] = field(default_factory=dict)


@dataclass(frozen=True)
class Rise:
    """How much more it is than it was some seconds before."""

    seconds: float = 0.0
    lookups: Counts = ()
    failed: int = 0
    delays: Counts = ()
    features: Mapping[str, Counts] = field(default_factory=dict)
    variants: Mapping[str, Counts] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Lookups a second."""
        return sum(self.lookups) / self.seconds if self.seconds else 0.0


class Window:
    """The counters of one server in the last seconds. For one thread."""

    def __init__(self, seconds: float = WINDOW_SECONDS) -> None:
        self._seconds = seconds
        self._kept: deque[Counters] = deque()

    def add(self, now: Counters) -> Rise:
        """The rise since the oldest ones that are kept. A server that has started anew begins at nothing."""
        if self._kept and self._kept[-1].start != now.start:
            self._kept.clear()
        self._kept.append(now)
        while len(self._kept) > 2 and self._kept[1].when <= now.when - self._seconds:
            self._kept.popleft()
        before = self._kept[0]
        return Rise(
            seconds=now.when - before.when,
            lookups=_less(now.lookups, before.lookups),
            failed=max(0, now.failed - before.failed),
            delays=_less(now.delays, before.delays),
            features=_each_less(now.features, before.features),
            variants=_each_less(now.variants, before.variants),
        )


def together(rises: Iterable[Rise]) -> Rise:
    """Of several servers: all of their calls, as if one server had had them."""
    found = list(rises)
    return Rise(
        seconds=max((rise.seconds for rise in found), default=0.0),
        lookups=_sum(rise.lookups for rise in found),
        failed=sum(rise.failed for rise in found),
        delays=_sum(rise.delays for rise in found),
        features=_each_sum([rise.features for rise in found]),
        variants=_each_sum([rise.variants for rise in found]),
    )


def quantile(rank: float, bounds: Sequence[float], counts: Counts) -> float | None:
    """As Prometheus has it: even within a bucket, and the last bound for what is beyond. None: there are no durations."""
    whole = sum(counts)
    if not whole:
        return None
    wanted, below = rank * whole, 0
    for index, count in enumerate(counts[: len(bounds)]):
        if count and below + count >= wanted:
            least = bounds[index - 1] if index else 0.0
            return least + (bounds[index] - least) * max(0.0, wanted - below) / count
        below += count
    return bounds[-1]


def _less(now: Counts, before: Counts) -> Counts:
    if len(before) != len(now):
        before = (0,) * len(now)
    return tuple(max(0, one - other) for one, other in zip(now, before, strict=True))


def _each_less(now: Mapping[str, Counts], before: Mapping[str, Counts]) -> dict[str, Counts]:
    return {name: _less(counts, before.get(name, ())) for name, counts in now.items()}


def _each_sum(parts: Sequence[Mapping[str, Counts]]) -> dict[str, Counts]:
    names = {name: None for part in parts for name in part}
    return {name: _sum(part.get(name, ()) for part in parts) for name in names}


def _sum(parts: Iterable[Counts]) -> Counts:
    found = [part for part in parts if part]
    longest = max(map(len, found), default=0)
    return tuple(sum(part[index] for part in found if index < len(part)) for index in range(longest))
