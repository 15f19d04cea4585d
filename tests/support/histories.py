"""Answers of routers while epochs come, with what each says of itself, and what is wrong with them.

The trainer's rows tell what they are: in the packet of second s all numbers are s. So the rows of an epoch follow from its
packets alone, and an answer that mixes two epochs, or is not of the epoch that it names, is found by its numbers.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from persia import _core
from persia.batch import IDTypeFeatureWithSingleID, PersiaBatch
from persia.config import EmbeddingConfig, SlotConfig
from persia.errors import PersiaError
from persia.formats.epoch_log import EpochLog
from persia.routing.lookup import Lookup, Lookups
from persia.signs import signs_of

IDS = 256
DIM = 4
CONFIG = EmbeddingConfig(slots_config={"a": SlotConfig(dim=DIM)})
CONFIG_TEXT = f"slots_config:\n  a: {{dim: {DIM}}}\n"
SIGNS = signs_of(np.arange(IDS, dtype=np.uint64), CONFIG.slots["a"])[0]
BATCH = PersiaBatch([IDTypeFeatureWithSingleID("a", np.arange(IDS, dtype=np.uint64))], requires_grad=False).to_bytes()
START = 1_800_000_000
CHECKPOINT_VALUE = 1.0


def value_of(second: int) -> float:
    """What all numbers of the packet of that second are; exact in f16."""
    return float(2 + second % 2000)


def write_packet(root: Path, second: int, places: np.ndarray) -> Path:
    """A complete packet of the rows at these places, which moves in as our dumper's does."""
    draft, directory = root / "s0" / ".writer" / "packet", root / "s0" / f"inc_2026{second:010d}"
    draft.mkdir(parents=True)
    rows = np.full((len(places), DIM), value_of(second), np.float32)
    _core.write_inc(draft / "0_0.inc", [(SIGNS[places], rows)], unix_seconds=START + second)
    (draft / "inc_update_done").touch()
    draft.rename(directory)
    return directory


@dataclass(frozen=True)
class Answer:
    """Times by time.monotonic(); `rows`: the first number of each id's."""

    router: int
    asked: float
    came: float
    epoch: int
    rows: bytes


class Recorder:
    """Threads that look the batch up, each with a router of its own, until stop()."""

    def __init__(self, routers: list[Lookups], threads_each: int = 1, timeout: float = 10.0) -> None:
        self.answers: list[Answer] = []
        self.failures: list[tuple[float, PersiaError]] = []
        self._done = threading.Event()
        self._timeout = timeout
        self._threads = [
            threading.Thread(target=self._run, args=(number, router))
            for number, router in enumerate(routers)
            for _ in range(threads_each)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int, router: Lookups) -> None:
        batch = _core.decode_batch(BATCH)
        while not self._done.is_set():
            asked = time.monotonic()
            try:
                lookup = router.lookup(batch, self._timeout)
            except PersiaError as error:
                self.failures.append((time.monotonic(), error))
                continue
            self.answers.append(Answer(number, asked, time.monotonic(), lookup.epoch, rows_of(lookup)))

    def wait_for(self, condition: Callable[[Answer], bool], seconds: float = 60.0) -> Answer:
        """The first answer that fulfils a condition."""
        end, seen = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            while seen < len(self.answers):
                seen += 1
                if condition(self.answers[seen - 1]):
                    return self.answers[seen - 1]
            self._done.wait(0.001)
        raise AssertionError(f"no such answer in {seconds} s: the last one of {len(self.answers)} is of {self.answers[-1:]}")

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


def rows_of(lookup: Lookup) -> bytes:
    (tensor,) = lookup.tensors
    return tensor[:, 0].tobytes()


class Oracle:
    """The rows of each epoch, by its record and by the packets that the test wrote."""

    def __init__(self, root: Path, written: dict[str, tuple[int, np.ndarray]]) -> None:
        """written: of each packet, by its name in records, its second and the places of its rows."""
        self._log = EpochLog(root)
        self._log.read()
        self._written = written
        self._rows: dict[int, bytes] = {}

    def rows(self, epoch: int) -> bytes:
        if epoch not in self._rows:
            rows = np.full(IDS, CHECKPOINT_VALUE, np.float16)
            for packet in sorted(self._log.history.packets_at(epoch).values(), key=lambda packet: packet.key):
                second, places = self._written[packet.packet]
                rows[places] = value_of(second)
            self._rows[epoch] = rows.tobytes()
        return self._rows[epoch]


@dataclass(frozen=True)
class Verdict:
    """How many answers there are, and how many are wrong in which way."""

    answers: int
    epochs: int
    unversioned: int  # of servers that follow no epochs
    mixed: int  # whose rows are those of no epoch
    misnamed: int  # whose rows are those of another epoch than they say
    fallen: int  # asked when the same router had given an answer of a later epoch


def judge(answers: list[Answer], oracle: Oracle, newest: int) -> Verdict:
    """Holds each answer against the rows of all epochs up to the newest one, and routers against their own past."""
    all_rows = {oracle.rows(epoch) for epoch in range(newest + 1)}
    counts: Counter[str] = Counter()
    for answer in answers:
        if answer.epoch == 0:
            counts["unversioned"] += 1
        if answer.rows not in all_rows:
            counts["mixed"] += 1
        elif answer.epoch and answer.rows != oracle.rows(answer.epoch):
            counts["misnamed"] += 1
    counts["fallen"] = sum(_fallen([answer for answer in answers if answer.router == router]) for router in _routers(answers))
    epochs = len({answer.epoch for answer in answers})
    return Verdict(len(answers), epochs, *(counts[name] for name in ("unversioned", "mixed", "misnamed", "fallen")))


def _routers(answers: list[Answer]) -> set[int]:
    return {answer.router for answer in answers}


def _fallen(answers: list[Answer]) -> int:
    """How many were asked after an answer of a later epoch had come."""
    events = sorted(
        [(answer.came, 1, answer.epoch) for answer in answers] + [(answer.asked, 0, answer.epoch) for answer in answers]
    )
    fallen = newest = 0
    for _, has_come, epoch in events:
        if has_come:
            newest = max(newest, epoch)
        elif epoch < newest:
            fallen += 1
    return fallen
