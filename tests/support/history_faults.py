"""What may happen to servers, packets and the log while answers are recorded; each act takes some ticks of the loop."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from persia.errors import CorruptFile, Superseded
from persia.formats.committing import committed_checkpoint
from persia.formats.epoch import Draft
from persia.formats.epoch_log import EpochLog
from persia.formats.layout import PACKET_MARKER, record_path
from persia.writers import EpochCommitter, VariantCommitter
from tests.support.epoch_deployments import EpochDeployment
from tests.support.epoch_rows import ALL, IDS, Places, name_of, read_sound

VARIANT = "b"  # that lookups ask for in turn

# One step for each tick, until it is over.
Act = Iterator[None]


class Faults:
    """Acts on one deployment. Of acts on servers one goes on at a time, and of acts on the log: each is a single fault."""

    def __init__(self, deployment: EpochDeployment, rng: random.Random, answered_since: Callable[[float], bool]) -> None:
        """answered_since(moment): whether all who ask have had answers to what they asked after it, by time.monotonic()."""
        self.away: list[tuple[float, float]] = []  # when a shard had no server, so that lookups may fail
        self._deployment, self._trainer, self._rng = deployment, deployment.trainer, rng
        self._answered_since = answered_since
        self._log = EpochLog(deployment.packets)
        self._late: set[int] = set()  # by how many seconds packets are late of which the newest is the same
        self._recent: list[Path] = []

    def on_servers(self) -> list[Callable[[], Act]]:
        return [self.kill, self.kill, self.freeze, self.stutter, self.break_committed]

    def on_the_log(self) -> list[Callable[[], Act]]:
        return [
            self.go_back,
            self.go_far_back,
            self.void,
            self.hold,
            self.two_committers,
            self.tear_record,
            self.new_checkpoint,
        ]

    def on_packets(self) -> list[Callable[[], Act]]:
        return [self.leave_late, self.leave_broken, self.leave_unfinished, self.grow, self.leave_for_a_variant]

    def leave(self) -> None:
        """A packet as they ought to be, of all rows or of some."""
        self._late.clear()
        self._recent = [*self._recent[-20:], self._trainer.leave(self._places())]

    def _places(self) -> Places:
        return ALL if self._rng.random() < 0.7 else np.array(self._rng.sample(range(IDS), self._rng.choice([1, 30])))

    def _ticks(self, most: int) -> Act:
        yield from [None] * self._rng.randint(1, most)

    def _newest(self) -> int:
        return self._log.read()

    def _operate(self, draft: Draft) -> None:
        while True:
            self._log.read()
            if self._log.commit(draft, "operator", "a fault") is not None:
                return

    # Servers.

    def kill(self) -> Act:
        """Some are killed again while they start."""
        server = self._rng.choice(self._deployment.servers)
        is_alone = any(servers == [server] for servers in self._deployment.shards)
        began = time.monotonic()
        server.kill()
        yield from self._ticks(4)
        server.start()
        if self._rng.random() < 0.3:
            yield from self._ticks(6)
            server.kill()
            server.start()
        while "serving version" not in server.log():
            assert server.process.poll() is None, f"a server ended by itself:\n{server.log()}"
            yield
        ready = time.monotonic()
        while is_alone and not self._answered_since(ready):
            yield
        if is_alone:
            self.away.append((began, time.monotonic()))

    def freeze(self, most: int = 8) -> Act:
        server = self._rng.choice(self._deployment.servers)
        server.process.send_signal(signal.SIGSTOP)
        yield from self._ticks(most)
        server.process.send_signal(signal.SIGCONT)

    def stutter(self) -> Act:
        for _ in range(5):
            yield from self.freeze(most=1)
            yield

    def break_committed(self) -> Act:
        """A server finds a packet broken that others have built already: it stalls until the packet is mended."""
        server = self._rng.choice(self._deployment.servers)
        server.process.send_signal(signal.SIGSTOP)
        directory = self._trainer.leave(ALL)
        for _ in range(10):
            read_sound(self._log)
            if self._log.history.is_named(name_of(directory)):
                break
            yield
        path = directory / "0_0.inc"
        whole = path.read_bytes()
        path.write_bytes(whole[:-5])
        server.process.send_signal(signal.SIGCONT)
        yield from self._ticks(8)
        path.write_bytes(whole)

    # Packets.

    def leave_late(self) -> Act:
        if free := set(range(1, 10)) - self._late:
            late = self._rng.choice(sorted(free))
            self._late.add(late)
            self._recent.append(self._trainer.leave(self._places(), seconds_late=late))
        yield

    def leave_broken(self) -> Act:
        directory = self._trainer.leave(self._places(), complete=False)
        path = directory / "0_0.inc"
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        (directory / PACKET_MARKER).touch()
        yield from self._ticks(5)
        path.write_bytes(whole)

    def leave_unfinished(self) -> Act:
        directory = self._trainer.leave(self._places(), complete=False)
        yield from self._ticks(8)
        (directory / PACKET_MARKER).touch()

    def grow(self) -> Act:
        self._trainer.grow(self._rng.choice(self._recent), self._places(), deletes=self._rng.random() < 0.5)
        yield

    def leave_for_a_variant(self) -> Act:
        trainer = self._trainer.of_variant(VARIANT)
        packet = trainer.leave(self._places())
        with suppress(CorruptFile):  # the next record is torn just now
            VariantCommitter(self._deployment.packets, VARIANT).commit([packet])
        yield

    # The log.

    def go_back(self, fewest: int = 1, most: int = 10) -> Act:
        back = self._rng.randint(fewest, most)
        self._operate(Draft(revert_to=max(0, self._newest() - back)))
        yield

    def go_far_back(self) -> Act:
        """To an epoch that no server has in memory any more."""
        yield from self.go_back(25, 60)

    def void(self) -> Act:
        self._operate(Draft(void=(name_of(self._rng.choice(self._recent)),)))
        yield

    def new_checkpoint(self) -> Act:
        directory = self._deployment.packets.parent / f"checkpoint_{len(self._trainer.checkpoints)}"
        base = committed_checkpoint(self._trainer.dump(directory, len(self._deployment.shards)))
        self._operate(Draft(base=base))
        yield

    def hold(self) -> Act:
        self._operate(Draft(hold=True))
        yield from self._ticks(5)
        self._operate(Draft(hold=False))

    def two_committers(self) -> Act:
        """Of two trainers that follow on the same epoch one is refused, and goes on when it has taken notice."""
        self._operate(Draft(hold=True))
        one, other = EpochCommitter(self._deployment.packets), EpochCommitter(self._deployment.packets)
        yield
        one.commit([self._trainer.leave(self._places()) for _ in range(2)])
        late = self._trainer.leave(self._places())
        try:
            other.commit([late])
        except Superseded:
            other.refresh()
        else:
            raise AssertionError("expected Superseded, as another trainer has committed since, got an epoch")
        yield
        other.commit([late])
        yield
        self._operate(Draft(hold=False))

    def tear_record(self) -> Act:
        """Half of a record in the place of the next one: servers stay where they are until it is gone."""
        newest = self._newest()
        whole = record_path(self._log.directory, newest).read_bytes()
        path = record_path(self._log.directory, newest + 1)
        try:
            with path.open("xb") as file:
                file.write(whole[: self._rng.randrange(len(whole))])
        except FileExistsError:
            return  # a server was first
        yield from self._ticks(5)
        path.unlink()


def is_excused(began: float, ended: float, away: list[tuple[float, float]]) -> bool:
    """Whether a shard had no server at some moment of that time."""
    return any(began <= to and since <= ended for since, to in away)
