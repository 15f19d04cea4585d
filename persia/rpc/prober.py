"""Asks one server now and then how it is, so that those who route calls know whom to ask."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from persia import _core
from persia.errors import DeadlineExceeded, PersiaError

__all__ = ["Health", "Probe", "Prober"]

log = logging.getLogger(__name__)

# How often a server is asked how it is: while all is well, and while it is not. A lost connection asks at once.
_WELL_SECONDS = 1.0
_ILL_SECONDS = 0.05
# After so long nobody expects it back soon.
_LONG_ILL_SECONDS = 30.0
_GONE_SECONDS = 0.5
_PROBE_SECONDS = 1.0
# Until after the next probe of one that did not answer this one.
_HANGS_SECONDS = _WELL_SECONDS + _PROBE_SECONDS + 1.0


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


# Asks a server, with a timeout in seconds. Raises PersiaError: Unavailable at once if it cannot be reached.
Probe = Callable[[_core.net.Replica, float], Health]


class Prober:
    """Has a thread that probes the replica until the replica is closed."""

    def __init__(self, replica: _core.net.Replica, probe: Probe, on_change: Callable[[], None]) -> None:
        """on_change: called when it became well, ceased to be, or has another checkpoint; not because it was closed."""
        self._replica, self._probe, self._on_change = replica, probe, on_change
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
            return _WELL_SECONDS
        gone = time.monotonic() - self._replica.unusable_since > _LONG_ILL_SECONDS
        return _GONE_SECONDS if gone else _ILL_SECONDS

    def _ask(self, before: _core.net.ReplicaHealth) -> Health:
        try:
            return self._probe(self._replica, _PROBE_SECONDS)
        except DeadlineExceeded as error:
            if before.ready:  # too busy for a word is not gone
                self._replica.mark_hanging(_HANGS_SECONDS)
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
    )
