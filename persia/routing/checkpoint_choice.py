"""Which checkpoint lookups are answered from, where the embedding servers hold several: rows of two are never put together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from persia import _core
from persia.checkpoint_id import checkpoint_text
from persia.rpc.service import Service

__all__ = ["CheckpointChoice"]

log = logging.getLogger(__name__)

_WHAT_TO_DO = (
    "Restart the servers that have not loaded the checkpoint that is meant, or bring its files back and restart the others"
)


class CheckpointChoice:
    """The one checkpoint whose servers are asked. The others are excluded (Replica.exclude) for as long as there are others.

    It is settled anew whenever a server's health changes, so that a lookup only reads what was settled.

    Servers whose epochs name their checkpoints are never excluded, and have no say: they change from one checkpoint to another
    at an epoch, each at its own time. A lookup is of one epoch, and refuses answers of several checkpoints by itself.
    """

    def __init__(self, stick_to_old: bool, on_settled: Callable[[], None] = lambda: None) -> None:
        """stick_to_old: servers with other checkpoints are excluded, instead of all being so.

        on_settled: called whenever it was decided, with what may be another outcome.
        """
        self._on_settled = on_settled
        self._stick_to_old = stick_to_old
        self._shards: Sequence[Service] = ()
        self._served: int | None = None
        # Reentrant: the garbage collector may close a context, and so come here, in the thread that has it.
        self._lock = threading.RLock()
        self.identity = 0  # of the checkpoint whose servers are asked
        self.problem = ""  # why there is no such checkpoint

    def attach(self, shards: Sequence[Service]) -> None:
        """The sets of replicas whose changes settle() is told. Called once."""
        self._shards = shards
        self.settle()

    def settle(self) -> None:
        """Decides by what the servers have said last."""
        with self._lock:
            self._settle()
            self._on_settled()

    def _settle(self) -> None:
        all_well = [[replica for replica in shard.replicas if replica.well] for shard in self._shards]
        by_epochs = [[replica for replica in replicas if replica.health.checkpoint_by_epochs] for replicas in all_well]
        for replica in _flat(by_epochs):
            replica.exclude("")
        well = [[replica for replica in replicas if not replica.health.checkpoint_by_epochs] for replicas in all_well]
        # What the others of a shard have is of no account where such a server does its work.
        there = [
            {_checkpoint_of(replica) for replica in replicas}
            for replicas, others in zip(well, by_epochs, strict=True)
            if replicas and not others
        ]
        if not there:
            self.problem = ""  # what is wrong now is said of each shard
            newest = max(map(_checkpoint_of, _flat(by_epochs)), key=_by_time, default=None)
            if newest is not None:
                self.identity = newest[0]
                for replica in _flat(well):
                    _exclude_unless_same(replica, *newest)
            return
        chosen = self._choose(there)
        if chosen is None:
            self._refuse(well)
            return
        identity, seconds = chosen
        if len(there) == len(well):
            self._served = identity
        if self.problem or identity != self.identity:
            log.info("lookups are answered from checkpoint %s", checkpoint_text(identity, seconds))
        self.identity, self.problem = identity, ""
        for replica in _flat(well):
            _exclude_unless_same(replica, identity, seconds)

    def _choose(self, there: list[set[tuple[int, int]]]) -> tuple[int, int] | None:
        if not self._stick_to_old and len(set.union(*there)) > 1:
            return None
        common = set.intersection(*there)
        for identity, seconds in common:
            if identity == self._served:
                return identity, seconds
        return max(common, key=_by_time, default=None)

    def _refuse(self, well: list[list[_core.net.Replica]]) -> None:
        texts = []
        for shard, replicas in zip(self._shards, well, strict=True):
            held = [f"{replica.address} has {checkpoint_text(*_checkpoint_of(replica))}" for replica in replicas]
            texts.append(f"{shard.name}: {', '.join(held) or 'no server is ready'}")
        wanted = "one that every shard has" if self._stick_to_old else "the same one everywhere"
        problem = (
            f"expected embedding servers with one checkpoint, {wanted}, got different ones, whose rows must not be mixed: "
            f"{'; '.join(texts)}. {_WHAT_TO_DO}"
        )
        if not self.problem:
            log.error("%s", problem)
        self.problem = problem
        for replica in _flat(well):
            replica.exclude(f"its checkpoint is {checkpoint_text(*_checkpoint_of(replica))}, and other shards have others")


def _by_time(found: tuple[int, int]) -> tuple[int, int]:
    return found[1], found[0]


def _checkpoint_of(replica: _core.net.Replica) -> tuple[int, int]:
    return replica.health.checkpoint_id, replica.health.checkpoint_seconds


def _exclude_unless_same(replica: _core.net.Replica, identity: int, seconds: int) -> None:
    if replica.health.checkpoint_id == identity:
        replica.exclude("")
        return
    own = checkpoint_text(*_checkpoint_of(replica))
    reason = f"its checkpoint is {own}, and lookups are answered from {checkpoint_text(identity, seconds)}"
    if replica.excluded != reason:
        log.warning("%s is not asked: %s", replica.address, reason)
    replica.exclude(reason)


def _flat(groups: list[list[_core.net.Replica]]) -> list[_core.net.Replica]:
    return [replica for group in groups for replica in group]
