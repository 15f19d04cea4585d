"""A trainer that leaves packets in every way that a trainer can, and knows which rows they amount to."""

from __future__ import annotations

import json
import random
from collections.abc import Container
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.formats.epoch_history import Packets
from persia.formats.layout import MANIFEST, PACKET_MARKER
from persia.formats.sign_files import write_sign_file
from persia.writers import IncrementalDumper, write_checkpoint
from tests.support.crash_places import CrashPlaces
from tests.support.persia_packets import DIM, START
from tests.support.stepped_clock import SteppedClock

SIGNS = np.arange(1, 3001, dtype=np.uint64) + np.uint64(1 << 56)
OF_THE_DUMPER = 7  # its training shard


Values = npt.NDArray[np.float32]

# In the order in which a packet's files count. Rows that a .ttl of the trainer speaks of have ended long ago.
KINDS = (".inc", ".del", ".ttl")


@dataclass
class LeftFile:
    """`places` in SIGNS; `value`: of the rows of an .inc."""

    kind: str
    seconds: int
    places: npt.NDArray[np.int64]
    value: float
    data: bytes = b""


@dataclass
class Left:
    """A packet that was left at `name`, below the directory of packets."""

    name: Path
    shard: int
    files: dict[int, LeftFile] = field(default_factory=dict)
    complete: bool = False
    broken: set[int] = field(default_factory=set)
    grown: bool = False  # files came after the marker

    @property
    def key(self) -> tuple[int, str, int]:
        return max(file.seconds for file in self.files.values()), self.name.name, self.shard

    def path(self, number: int) -> Path:
        return self.name / f"{self.shard}_{number}{self.files[number].kind}"

    def mend(self, places: CrashPlaces) -> None:
        for number in self.broken:
            places.write(self.path(number), self.files[number].data)
        self.broken.clear()

    def apply(self, values: Values, names: Container[str] | None = None) -> None:
        """Changes the values of rows as a server does that applies the packet, or those of its files that have these names."""
        put = np.zeros(len(values), np.bool_)
        for number, file in sorted(self.files.items(), key=lambda item: (KINDS.index(item[1].kind), item[0])):
            if names is not None and self.path(number).name not in names:
                continue
            if file.kind == ".inc":
                values[file.places], put[file.places] = file.value, True
            elif file.kind == ".del":
                values[file.places] = 0
            else:  # it says nothing of rows that the packet does not put
                values[file.places[put[file.places]]] = 0


class Trainer:
    """Each step leaves something: rows, deletions, or rows that have ended.

    A row is its packet's value in all numbers; no two files have the same.
    """

    def __init__(self, places: CrashPlaces, scratch: Path, rng: random.Random) -> None:
        """scratch: a directory for files that are in the making."""
        self._places, self._scratch = places, scratch / "scratch.inc"
        self._rng = rng
        self._clock = SteppedClock(float(START))
        self._dumper = IncrementalDumper(places.packets, shard_index=OF_THE_DUMPER, seconds=1e6, clock=self._clock)
        self._base = np.zeros(len(SIGNS), np.float32)
        self._packets: dict[Path, Left] = {}
        self._seconds = self._since = START
        self._value = 0
        self.steps = 0
        self.save()

    def step(self) -> None:
        self.steps += 1
        steps = [self._leave_packet] * 5 + [self._grow_packet, self._finish_one, self._dump, self._mend_one]
        self._rng.choice(steps)()

    def settle(self) -> None:
        """Completes what a server could have seen in part. What it never saw whole may stay broken, and must not count."""
        for packet in self._packets.values():
            if packet.grown:
                packet.mend(self._places)
            if not packet.complete:
                self._finish(packet)

    def rows(self) -> Values:
        """The value of each of SIGNS, 0 where there is no row: the packets in the order of their keys, over the checkpoint."""
        values = self._base.copy()
        for packet in sorted(self._packets.values(), key=lambda packet: packet.key):
            if packet.complete and not packet.broken:
                packet.apply(values)
        return values

    def rows_of(self, packets: Packets) -> Values:
        """As rows(), of an epoch that has these packets. Of those that it does not know the checkpoint has the rows."""
        values = self._base.copy()
        for one in sorted(packets.values(), key=lambda one: one.key):
            if (left := self._packets.get(Path(one.packet))) is not None:
                grows = left.shard != OF_THE_DUMPER
                left.apply(values, {file.name for file in one.files} if grows else None)
        return values

    def save(self) -> None:
        """A checkpoint of all so far; some packets that it makes superfluous go. Only while no server runs."""
        self.settle()
        self._base = self.rows()
        self._since = self._seconds = self._seconds + 3
        there = self._base > 0
        blocks = [(SIGNS[there], np.repeat(self._base[there], DIM).reshape(-1, DIM))]
        moment = datetime.fromtimestamp(self._since)
        write_checkpoint(
            self._places.checkpoint, blocks, shards=self._rng.randint(1, 3), files_per_shard=2, datetime=moment, overwrite=True
        )
        for name in self._packets:
            if self._rng.random() < 0.7:
                self._places.remove(name)
        self._packets.clear()

    def close(self) -> None:
        self._dumper.close()

    def _leave_packet(self) -> None:
        self._seconds += self._rng.randint(0, 1)
        seconds = max(self._since, self._seconds - self._rng.choice([0, 0, 0, 1, 2, 9]))
        shard = self._rng.randint(0, 2)
        name = Path(f"s{shard}", f"inc_{20270115000000 + seconds - START}")
        if name in self._packets:
            self._grow(self._packets[name], seconds)
            return
        packet = self._packets[name] = Left(name, shard)
        for number in self._rng.sample(range(10), self._rng.randint(1, 3)):
            self._write(packet, number, seconds, broken=self._rng.random() < 0.04)
        if self._rng.random() < 0.7:
            self._finish(packet)

    def _grow_packet(self) -> None:
        if packets := [packet for packet in self._packets.values() if packet.shard != OF_THE_DUMPER]:
            packet = self._rng.choice(packets[-10:])
            self._grow(packet, packet.key[0] + self._rng.choice([0, 0, 1]))

    def _grow(self, packet: Left, seconds: int) -> None:
        self._seconds = max(self._seconds, seconds)
        if free := [number for number in range(10) if number not in packet.files]:
            # Else the server may rightly have seen the packet without this file, and a restart with it: until it is mended.
            packet.grown = packet.grown or (packet.complete and not packet.broken)
            self._write(packet, self._rng.choice(free), seconds, broken=self._rng.random() < 0.2)

    def _write(self, packet: Left, number: int, seconds: int, *, broken: bool) -> None:
        self._value += 1
        places = np.array(self._rng.sample(range(len(SIGNS)), self._rng.choice([1, 30, 1000])), np.int64)
        kind = self._rng.choice([".inc"] * 5 + [".del", ".ttl"])
        scratch = self._scratch.with_suffix(kind)
        if kind == ".inc":
            rows = np.full((len(places), DIM), self._value, np.float32)
            _core.write_inc(scratch, [(SIGNS[places], rows)], unix_seconds=seconds)
        else:
            past = np.full(len(places), 7, np.uint64) if kind == ".ttl" else None
            write_sign_file(scratch, SIGNS[places], seconds, past)
        data = scratch.read_bytes()
        packet.files[number] = LeftFile(kind, seconds, places, float(self._value), data)
        self._places.write(packet.path(number), data, half=broken)
        if broken:
            packet.broken.add(number)

    def _finish(self, packet: Left) -> None:
        self._places.write(packet.name / PACKET_MARKER, b"")
        packet.complete = True

    def _finish_one(self) -> None:
        if waiting := [packet for packet in self._packets.values() if not packet.complete]:
            self._finish(self._rng.choice(waiting))

    def _mend_one(self) -> None:
        if broken := [packet for packet in self._packets.values() if packet.broken]:
            self._rng.choice(broken).mend(self._places)

    def _dump(self) -> None:
        self._value += 1
        self._seconds += self._rng.randint(0, 1)
        self._clock.now = float(self._seconds)
        places = np.array(self._rng.sample(range(len(SIGNS)), 200), np.int64)
        rows = np.full((len(places), DIM), self._value, np.float32)
        deleted = np.array(self._rng.sample(range(len(SIGNS)), self._rng.choice([0, 20, 500])), np.int64)
        self._dumper.commit(SIGNS[places], rows, ttl=self._rng.choice([None, 1e8]))
        self._dumper.delete(SIGNS[deleted])
        place = self._dumper.flush()
        assert place is not None
        name = Path(*place.parts[-2:])
        seconds = json.loads(self._places.read(name / MANIFEST))["unix_seconds"]
        files = {0: LeftFile(".inc", seconds, places, float(self._value)), 1: LeftFile(".del", seconds, deleted, 0)}
        self._packets[name] = Left(name, OF_THE_DUMPER, files, complete=True)
