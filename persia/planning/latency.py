"""How long a lookup takes: waits for processors, pauses, and the slowest of all shards, with hedges."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Pauses", "Station", "lookup_quantiles", "slowest_of", "waits_at_all"]

_Numbers = npt.NDArray[np.float64]
# Where distributions are known: so many times, the first ones close to each other.
_STEPS, _WAITS = 1500, 400
# As few calls are hedged as RetryBudget (native/routing/retry_budget.hpp) allows for long.
HEDGED_SHARE = 0.1


@dataclass(frozen=True)
class Pauses:
    """What happens to a call now and then besides work: another process has the processor, a page is fetched, a core sleeps."""

    share: float  # of calls that meet one
    mean: float  # seconds


@dataclass(frozen=True)
class Station:
    """Processors that calls wait for, as M/M/c: arrivals at random, and work that differs from call to call."""

    cores: float
    busy: float  # share of them; below 1
    work: float  # seconds of a processor that a call takes

    def beyond(self, times: _Numbers, pauses: Pauses) -> _Numbers:
        """Of the calls, which share takes longer than its work and each of these times."""
        waiting = waits_at_all(self.cores, self.busy)
        rate = self.cores * (1 - self.busy) / self.work  # at which those who wait get their turn
        pause = 1 / pauses.mean
        wait = np.exp(-rate * times)
        paused = np.exp(-pause * times)
        # The sum of a wait and a pause; where both have the same rate, that formula is 0 / 0.
        apart = rate - pause if abs(rate - pause) > 1e-6 * rate else 1e-6 * rate
        both = np.clip((rate * paused - pause * wait) / apart, 0, 1)
        share = pauses.share
        return waiting * (1 - share) * wait + (1 - waiting) * share * paused + waiting * share * both


def waits_at_all(cores: float, busy: float) -> float:
    """The share of calls that find all processors at work: Erlang's C, between whole numbers of cores in proportion."""
    if busy <= 0:
        return 0.0
    below = max(1, math.floor(cores))
    part = min(1.0, max(0.0, cores - below))
    low = _erlang_c(below, busy)
    return low if part == 0 else (1 - part) * low + part * _erlang_c(below + 1, busy)


def _erlang_c(cores: int, busy: float) -> float:
    load, blocked = cores * busy, 1.0
    for k in range(1, cores + 1):  # Erlang's B, by its recursion
        blocked = load * blocked / (k + load * blocked)
    return blocked / (1 - busy * (1 - blocked))


def slowest_of(beyond: _Numbers, calls: float) -> _Numbers:
    """The share of lookups whose slowest of so many calls takes longer than each time. beyond: of single calls."""
    return -np.expm1(calls * np.log1p(-np.minimum(beyond, 1 - 1e-12)))


def _hedged(times: _Numbers, beyond: _Numbers, after: float) -> _Numbers:
    """With a second call once the first one has not been answered for so long, as far as the budget goes."""
    late = float(np.interp(after, times, beyond))
    share = min(1.0, HEDGED_SHARE / late) if late > 0 else 1.0
    second = np.where(times < after, 1.0, np.interp(times - after, times, beyond))
    return beyond * (1 - share + share * second)


def lookup_quantiles(
    shard: Station,
    router: Station,
    calls: float,
    pauses: Pauses,
    *,
    ways: float,
    hedge_after: float | None,
    shares: list[float],
) -> list[float]:
    """The times within which these shares of the lookups are answered.

    Args:
        shard: Of one call of a lookup, on the machine of a server.
        router: Of who asks the shards.
        calls: Shards that a lookup asks.
        pauses: That a call meets, and the router.
        ways: Seconds that messages are under way, and that nothing of the above has.
        hedge_after: Until a second replica is asked; None: there is none.
        shares: Such as 0.5 and 0.99.
    """
    mean = shard.work / (shard.cores * (1 - shard.busy)) + router.work / (router.cores * (1 - router.busy)) + pauses.mean
    longest = mean * (20 + math.log1p(calls)) + (2 * hedge_after if hedge_after else 0)
    times = np.linspace(0, 1, _STEPS) ** 2 * longest
    calls_beyond = shard.beyond(times, pauses)
    if hedge_after is not None:
        calls_beyond = _hedged(times, calls_beyond, hedge_after)
    asked = slowest_of(calls_beyond, calls)
    # The sum of both: the router's wait in steps of equal shares, and the shards' after each.
    answered = np.zeros_like(times)
    for wait in np.interp((np.arange(_WAITS) + 0.5) / _WAITS, 1 - router.beyond(times, pauses), times):
        late = np.interp(np.maximum(times - wait, 0), times, asked)
        answered += np.where(times >= wait, 1 - late, 0) / _WAITS
    fixed = shard.work + router.work + ways
    return [fixed + float(np.interp(share, answered, times)) for share in shares]
