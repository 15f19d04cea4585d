"""Asks one server now and then how it is, so that those who route calls know whom to ask."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from persia import _core
from persia.errors import DeadlineExceeded, PersiaError

__all__ = ["Health", "Probe", "Prober", "WatchTimes"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WatchTimes:
    """How often servers are asked how they are, and name servers what names stand for. In seconds."""

    well: float = 1.0  # between two probes of a server that is well; one that loses a connection is asked at once
    epochs: float = 0.25  # the same of a server that follows epochs: who asks it for nothing learns of new ones so late
    ill: float = 0.05  # between two probes of a server that is not well
    long_ill: float = 30.0  # until nobody expects it back soon
    gone: float = 0.5  # between two probes of one that is not expected back soon
    answer: float = 1.0  # that a server has for the answer to a probe
    names: float = 5.0  # between two questions what a name stands for

    @property
    def hangs(self) -> float:
        """Until after the next probe of a server that did not answer this one."""
        return self.well + self.answer + 1.0


@dataclass(frozen=True)
class Health:
    """What a server says of itself. `refused`: why it must not be used, although it is well."""

    ready: bool
    state: str
    refused: str = ""
    version: int = 0
    rows: int = 0
    server_start: int = 0  # tells one start of the server from another; 0: not said
    checkpoint_id: int = 0  # the identity of the one that it loaded; 0: none, or not said
    checkpoint_seconds: int = 0  # when training wrote it
    epoch_low: int = 0  # that it can answer from; 0 both: it follows none
    epoch_high: int = 0
    checkpoint_by_epochs: bool = False  # the records of its epochs name their checkpoints


# Asks a server, with a timeout in seconds. Raises PersiaError: Unavailable at once if it cannot be reached.
Probe = Callable[[_core.net.Replica, float], Health]


class Prober:
    """Has a thread that probes the replica until the replica is closed."""

    def __init__(self, replica: _core.net.Replica, probe: Probe, on_change: Callable[[], None], times: WatchTimes) -> None:
        """on_change: called when it became well, ceased to be, or has another checkpoint; not because it was closed."""
        self._replica, self._probe, self._on_change, self._times = replica, probe, on_change, times
        threading.Thread(target=self._watch, name=f"probe {replica.address}", daemon=True).start()

    def _watch(self) -> None:
        replica = self._replica
        while not replica.closed:
            generation, before = replica.generation, replica.health
            update = replica.set_health(generation, **vars(self._ask(before)))
            if update != "outdated":  # else a connection failed after it answered
                self._say(before, replica.health)
            # Whoever lost a connection has made it unusable: those who choose between replicas are told here.
            suspected = replica.wait_for_change(generation, 0 if update == "changed" else self._pause())
            if (update == "changed" or suspected) and not replica.closed:
                self._on_change()

    def _pause(self) -> float:
        if self._replica.well:
            return self._times.epochs if self._replica.health.epoch_high else self._times.well
        gone = time.monotonic() - self._replica.unusable_since > self._times.long_ill
        return self._times.gone if gone else self._times.ill

    def _ask(self, before: _core.net.ReplicaHealth) -> Health:
        try:
            return self._probe(self._replica, self._times.answer)
        except DeadlineExceeded as error:
            if before.ready:  # too busy for a word is not gone
                self._replica.mark_hanging(self._times.hangs)
                return _with_state(before, before.ready, before.state, before.refused)
            return _with_state(before, False, str(error))
        except PersiaError as error:
            return _with_state(before, False, str(error))
        except Exception as error:  # out of threads, for instance: it may be mended
            log.exception("%s cannot be asked how it is", self._replica.address)
            return _with_state(before, False, str(error))

    def _say(self, before: _core.net.ReplicaHealth, now: _core.net.ReplicaHealth) -> None:
        address = self._replica.address
        if now.refused and now.refused != before.refused:
            log.error("%s is not used: %s", address, now.refused)
        elif now.well and not before.well:
            log.info("%s is ready", address)
        elif before.ready and not now.ready:
            log.warning("%s is not ready: %s", address, now.state)


def _with_state(health: _core.net.ReplicaHealth, ready: bool, state: str, refused: str = "") -> Health:
    return Health(
        ready,
        state,
        refused,
        health.version,
        health.rows,
        health.server_start,
        health.checkpoint_id,
        health.checkpoint_seconds,
        health.epoch_low,
        health.epoch_high,
        health.checkpoint_by_epochs,
    )
