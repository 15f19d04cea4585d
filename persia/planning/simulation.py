"""A deployment as it would behave, call by call: stragglers, stalls, hedges, losses of machines, and epochs that come by shard.

One router is simulated, which is as good as any other. What it knows of servers, whom it asks, when it asks again and which
epoch it wants follow the rules of native/routing, and tests hold them against the functions there. What servers do is drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from persia.planning.latency import waits_at_all
from persia.routing.lookup import RouterOptions

__all__ = ["Budgets", "Epochs", "Fleet", "Outcome", "Simulation", "Troubles", "newest_common"]

_Numbers = npt.NDArray[np.float64]
_Counts = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]

# native/routing/retry_budget.hpp, replica.hpp, attempts.cpp
BUDGET_SHARE, BUDGET_PER_SECOND, BUDGET_AT_ONCE = 0.1, 10.0, 100.0
SLOW_SECONDS = 1.0
LOOK_SECONDS = 0.005
# embedding_server/updates: epochs of the last seconds are kept beside `retained`.
KEPT_SECONDS = 3.0


@dataclass(frozen=True)
class Fleet:
    """Servers, and what a lookup costs."""

    shards: int
    replicas: int
    call_work: float  # seconds of a processor that a call to a shard takes there
    router_work: float  # that a lookup takes in the router
    ways: float = 200e-6  # seconds that messages are under way
    cores: float = 16.0
    busy: float = 0.3
    asked: int | None = None  # shards of a lookup, drawn at random; None: all


@dataclass(frozen=True)
class Troubles:
    """What goes wrong. Rates are of each server."""

    stalls_per_second: float = 0.01  # a neighbour, a page, a disk: the server does nothing for a while
    stall_seconds: float = 0.05  # on average
    slow_share: float = 0.01  # of servers that are slow for good
    slow_factor: float = 3.0
    losses_per_second: float = 0.0  # a machine goes without a word
    loss_seconds: float = 60.0


@dataclass(frozen=True)
class Epochs:
    """How rows change. Each server builds each epoch some time after its record was committed."""

    every: float = 1.0
    build_median: float = 0.01
    build_p99: float = 0.1
    retained: int = 8


@dataclass(frozen=True)
class Outcome:
    """What lookups met. Times in seconds."""

    latencies: _Numbers  # of those that were answered
    lags: _Numbers  # of each answer: since the oldest record that it has not; 0: it is of the newest epoch
    failed: int
    waited: int  # for an epoch that no replica of a shard was known to have
    calls: int
    hedges: int
    lookups: int
    epochs: _Counts  # of each answer

    def quantile(self, share: float) -> float:
        return float(np.quantile(self.latencies, share)) if len(self.latencies) else math.nan


class Budgets:
    """RetryBudget of each shard."""

    def __init__(self, shards: int) -> None:
        self._left = np.full(shards, BUDGET_AT_ONCE)
        self._refilled = np.zeros(shards)

    def earn(self, shards: _Counts) -> None:
        self._left[shards] = np.minimum(self._left[shards] + BUDGET_SHARE, BUDGET_AT_ONCE)

    def spend(self, shards: _Counts, now: float) -> _Flags:
        """For each of these shards, whether it may be asked again."""
        since = np.where(self._refilled[shards] > 0, now - self._refilled[shards], 0)
        self._left[shards] = np.minimum(self._left[shards] + BUDGET_PER_SECOND * np.maximum(since, 0), BUDGET_AT_ONCE)
        self._refilled[shards] = np.maximum(self._refilled[shards], now)
        allowed = self._left[shards] >= 1
        self._left[shards] -= allowed
        return allowed


def newest_common(low: _Counts, high: _Counts, usable: _Flags) -> int:
    """The newest epoch that a usable replica of each shard has; shards without any have no say. 0: there is none."""
    voting = usable.any(axis=1)
    if not voting.any():
        return 0
    low, high, usable = low[voting], high[voting], usable[voting]
    epoch = int(high.max())
    while True:
        reach = np.where(usable & (high > 0) & (low <= epoch), np.minimum(high, epoch), 0).max(axis=1)
        newest = int(reach.min())
        if newest in (0, epoch):
            return newest
        epoch = newest


@dataclass
class _Drawn:
    """What happens to servers, of all the time that is simulated."""

    commits: _Numbers
    ready: _Numbers  # by epoch (the first row: the epoch 1), shard and replica
    stalls: _Numbers  # begin and end, by number, shard and replica
    losses: _Numbers  # the same
    factors: _Numbers
    phases: _Numbers  # of probes
    known_high: _Counts = field(init=False)

    def __post_init__(self) -> None:
        self.known_high = np.ones(self.factors.shape, np.int64)


class Simulation:
    """Lookups of one router at random times."""

    def __init__(
        self,
        fleet: Fleet,
        troubles: Troubles,
        epochs: Epochs | None,
        *,
        seconds: float,
        seed: int = 0,
        options: RouterOptions | None = None,
        ready: tuple[_Numbers, _Numbers] | None = None,
        stalls: _Numbers | None = None,
    ) -> None:
        """epochs: None: servers follow none.

        ready: when records were committed, and when servers had their epochs, as measured instead of drawn. stalls: begins and
        ends, by number, shard and replica, likewise.
        """
        self.fleet, self.troubles, self.epochs, self.seconds = fleet, troubles, epochs, seconds
        self.options = options or RouterOptions()
        self._random = np.random.default_rng(seed)
        self._drawn = self._draw(ready)
        if stalls is not None:
            self._drawn.stalls = stalls
        self._budgets = Budgets(fleet.shards)
        self._slow = np.zeros((2, fleet.shards, fleet.replicas))  # since when, and until when
        self._turns = np.zeros(fleet.shards, np.int64)
        self._last_epoch = 0

    def run(self, rate: float | None = None, at: _Numbers | None = None, *, one_caller: bool = False) -> Outcome:
        """What lookups meet. REQUIRES: it is called once.

        rate: lookups a second. at: or their times, in order. one_caller: none begins before the one before it has ended.
        """
        if at is None:
            assert rate is not None
            at = np.sort(self._random.uniform(0, self.seconds, self._random.poisson(rate * self.seconds)))
        latencies, lags, epochs = [], [], []
        failed = waited = calls = hedges = 0
        ended = 0.0
        for time in at:
            now = max(float(time), ended) if one_caller else float(time)
            epoch, wait, took, asked, again = self._lookup(now)
            ended = now + min(took, self.options.timeout)
            calls, hedges, waited = calls + asked + again, hedges + again, waited + (wait > 0)
            if took > self.options.timeout or math.isinf(wait):
                failed += 1
                continue
            latencies.append(took)
            epochs.append(epoch)
            lags.append(self.lag(epoch, now))
        return Outcome(np.array(latencies), np.array(lags), failed, waited, calls, hedges, len(at), np.array(epochs, np.int64))

    def _draw(self, ready: tuple[_Numbers, _Numbers] | None) -> _Drawn:
        fleet, troubles, random = self.fleet, self.troubles, self._random
        shape = fleet.shards, fleet.replicas
        if ready is not None:
            commits, built = ready
        elif self.epochs is None:
            commits, built = np.zeros(0), np.zeros((0, *shape))
        else:
            commits = np.arange(1, max(2, int(self.seconds / self.epochs.every) + 1), dtype=np.float64) * self.epochs.every
            spread = math.log(self.epochs.build_p99 / self.epochs.build_median) / 2.326
            delays = self.epochs.build_median * np.exp(spread * random.standard_normal((len(commits), *shape)))
            built = np.maximum.accumulate(commits[:, None, None] + delays, axis=0)
        factors = np.where(random.random(shape) < troubles.slow_share, troubles.slow_factor, 1.0)
        return _Drawn(
            commits,
            built,
            self._spans(troubles.stalls_per_second, troubles.stall_seconds),
            self._spans(troubles.losses_per_second, troubles.loss_seconds),
            factors,
            random.uniform(0, self.options.watch.epochs, shape),
        )

    def _spans(self, rate: float, mean: float) -> _Numbers:
        """Begins and ends at random, of each server as many as the server with the most has; the others' lie in the past."""
        fleet, random = self.fleet, self._random
        counts = random.poisson(rate * self.seconds, (fleet.shards, fleet.replicas))
        most = max(1, int(counts.max()))
        begin = random.uniform(0, self.seconds, (most, fleet.shards, fleet.replicas))
        begin[np.arange(most)[:, None, None] >= counts] = -1e9
        return np.stack([begin, begin + random.exponential(mean, begin.shape)])

    def _high(self, at: _Numbers) -> _Counts:
        """The newest epoch that servers have at a time, or at times of their own. Epoch 1 is there from the beginning."""
        newest: _Counts = 1 + (self._drawn.ready <= at).sum(axis=0)
        return newest

    def _low(self, high: _Counts, now: float) -> _Counts:
        retained = self.epochs.retained if self.epochs is not None else 1
        recent = 1 + int(np.searchsorted(self._drawn.commits, now - KEPT_SECONDS))
        return np.maximum(1, np.minimum(high - retained, recent))

    def _lost(self, now: float) -> _Flags:
        begin, end = self._drawn.losses
        lost: _Flags = ((begin <= now) & (now < end)).any(axis=0)
        return lost

    def _usable(self, now: float) -> _Flags:
        """As far as the router knows: a lost machine does not answer probes, and is well for the router until one is over."""
        begin, end = self._drawn.losses
        watch = self.options.watch
        noticed = begin + watch.well + watch.answer
        usable: _Flags = ~((noticed <= now) & (now < end)).any(axis=0)
        return usable

    def _probe(self, now: float) -> None:
        """What the last probes before `now` have said."""
        every = self.options.watch.epochs
        last = np.floor((now - self._drawn.phases) / every) * every + self._drawn.phases
        heard = np.where(self._lost(now), 1, self._high(last))
        self._drawn.known_high = np.maximum(self._drawn.known_high, heard)

    def _choose_epoch(self, now: float, usable: _Flags) -> int:
        known = self._drawn.known_high
        self._last_epoch = max(self._last_epoch, newest_common(self._low(known, now), known, usable))
        return self._last_epoch

    def _choose(self, shards: _Counts, eligible: _Flags, now: float) -> _Counts:
        """In turn, one of those with the least trouble; -1: there is none."""
        slow = self._is_slow(shards, now)
        best = np.where(eligible & ~slow, 0, np.where(eligible, 1, 2))
        least = best.min(axis=1, keepdims=True)
        candidates = best == least
        turn = self._turns[shards] % candidates.sum(axis=1)
        self._turns[shards] += 1
        chosen = (np.cumsum(candidates, axis=1) == (turn + 1)[:, None]).argmax(axis=1)
        return np.where(least[:, 0] == 2, -1, chosen)

    def _is_slow(self, shards: _Counts, now: float) -> _Flags:
        since, until = self._slow[:, shards]
        slow: _Flags = (since <= now) & (now < until)
        return slow

    def _mark_slow(self, shards: _Counts, replicas: _Counts, now: float) -> None:
        """From then on, for a while. Lookups overlap, so these times are nearly, but not quite, in order."""
        since, until = self._slow
        before = until[shards, replicas]
        since[shards, replicas] = np.where(before < now, now, np.minimum(since[shards, replicas], now))
        until[shards, replicas] = np.maximum(before, now + SLOW_SECONDS)

    def _times(self, shards: _Counts, replicas: _Counts, now: float) -> _Numbers:
        """How long the calls take; infinity for a machine that is lost meanwhile."""
        fleet, drawn = self.fleet, self._drawn
        count = len(shards)
        work = fleet.call_work * drawn.factors[shards, replicas]
        waits = self._random.random(count) < waits_at_all(fleet.cores, fleet.busy)
        turn = fleet.call_work / (fleet.cores * (1 - fleet.busy))
        rest = np.where(waits, self._random.exponential(turn, count), 0)
        begin, end = drawn.stalls[:, :, shards, replicas]
        stalled = np.where((begin <= now) & (now < end), end - now, 0).max(axis=0)
        times = work + rest + stalled + fleet.ways
        return np.where(self._lost(now)[shards, replicas], np.inf, times)

    def _lookup(self, now: float) -> tuple[int, float, float, int, int]:
        """The epoch, the wait for it, how long it took in all, calls, and calls that were made again."""
        fleet = self.fleet
        shards = np.arange(fleet.shards)
        if fleet.asked is not None and fleet.asked < fleet.shards:
            shards = self._random.choice(fleet.shards, fleet.asked, replace=False)
        usable, epoch, wait = self._usable(now), 0, 0.0
        if len(self._drawn.commits):
            self._probe(now)
            epoch = self._choose_epoch(now, usable)
        eligible = self._eligible(shards, usable, epoch)
        while not eligible.any(axis=1).all():
            wait += LOOK_SECONDS
            if wait > self.options.wait_for_shard:
                return epoch, math.inf, math.inf, 0, 0
            if len(self._drawn.commits):
                self._probe(now + wait)
            eligible = self._eligible(shards, self._usable(now + wait), epoch)
        chosen = self._choose(shards, eligible, now + wait)
        times = self._times(shards, chosen, now + wait)
        self._budgets.earn(shards)
        times, again = self._hedge(shards, chosen, times, now + wait, epoch)
        if len(self._drawn.commits):
            said = np.where(np.isinf(times), 1, self._high(np.asarray(now + wait))[shards, chosen])
            self._drawn.known_high[shards, chosen] = np.maximum(self._drawn.known_high[shards, chosen], said)
        return epoch, wait, wait + fleet.router_work + float(times.max()), len(shards), again

    def _eligible(self, shards: _Counts, usable: _Flags, epoch: int) -> _Flags:
        return usable[shards] & (self._drawn.known_high[shards] >= epoch)

    def _hedge(self, shards: _Counts, chosen: _Counts, times: _Numbers, now: float, epoch: int) -> tuple[_Numbers, int]:
        """A second replica is asked where the first has not answered for long, is not slow itself, and the budget allows it.

        Where there is none, the router looks again after the same time.
        """
        after, again = self.options.hedge_after, 0
        alone = np.ones(len(shards), bool)  # calls that no other replica has been asked for
        for look in range(1, math.ceil(self.options.timeout / after)):
            late = np.flatnonzero(alone & (times > look * after))
            if not len(late):
                break
            then, of, first = now + look * after, shards[late], chosen[late]
            if len(self._drawn.commits):
                self._probe(then)
            others = self._eligible(of, self._usable(then), epoch) & ~self._is_slow(of, then)
            others[np.arange(len(of)), first] = False
            self._mark_slow(of, first, then)
            may: _Flags = np.asarray(others.any(axis=1))
            may[may] = self._budgets.spend(of[may], then)
            second = others[may].argmax(axis=1)
            times[late[may]] = np.minimum(times[late[may]], look * after + self._times(of[may], second, then))
            alone[late[may]] = False
            again += int(may.sum())
        return times, again

    def lag(self, epoch: int, now: float) -> float:
        """Since the oldest record that the epoch does not have."""
        commits = self._drawn.commits
        if epoch - 1 >= len(commits) or epoch == 0:
            return 0.0
        return max(0.0, now - float(commits[epoch - 1]))
