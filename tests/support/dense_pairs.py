"""A dense model that is switched again and again with its rows: who asks for it, and which pairs of the two were given out.

What stands for the dense model is its version: an answer is wrong if its epoch's record names another one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from persia import _core
from persia.dense_version import DenseVersion
from persia.errors import PersiaError, Unavailable
from persia.formats.epoch_log import EpochLog
from persia.routing.lookup import Lookups
from tests.support.epoch_rows import BATCH, EpochOracle
from tests.support.histories import numbers_of
from tests.support.servers import PATIENCE

MODEL = "ctr"

OpenLookups = Callable[[DenseVersion], Lookups]


@dataclass(frozen=True)
class Pair:
    """What an answer was made of: a version of the dense model, and rows of an epoch."""

    version: str
    epoch: int
    numbers: bytes


class Serving:
    """One version is the default, as in a TorchServe. Threads ask it without pause until stop()."""

    def __init__(self, open_lookups: OpenLookups, version: str, threads: int = 2) -> None:
        self._open = open_lookups
        self._default = version, open_lookups(DenseVersion(MODEL, version))
        self.pairs: list[Pair] = []
        self.failures: list[PersiaError] = []
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def start(self) -> None:
        wait_for_answer(self._default[1])
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        batch = _core.decode_batch(BATCH)
        while not self._done.is_set():
            version, lookups = self._default
            try:
                lookup = lookups.lookup(batch, PATIENCE)
            except PersiaError as error:
                self.failures.append(error)
                continue
            self.pairs.append(Pair(version, lookup.epoch, numbers_of(lookup)))

    @contextmanager
    def swap(self, version: str) -> Iterator[None]:
        """Another version becomes the default. Within the `with` the old one is there still, for who asks it."""
        old, new = self._default[1], self._open(DenseVersion(MODEL, version))
        wait_for_answer(new)
        self._default = version, new
        yield
        asked = len(self.pairs) + len(self._threads)  # each may have an answer of the old one under way
        while len(self.pairs) < asked + len(self._threads) and not self.failures:
            time.sleep(0.001)
        old.close()

    def wait_for(self, version: str, epoch: int) -> None:
        """Until somebody has been given that version with that epoch or a later one."""
        end, seen = time.monotonic() + PATIENCE, 0
        while time.monotonic() < end:
            for pair in self.pairs[seen:]:
                seen += 1
                if pair.version == version and pair.epoch >= epoch:
                    return
            time.sleep(0.001)
        raise AssertionError(f"no answer of {version} at epoch {epoch}, the last are {self.pairs[-3:]}, {self.failures[-3:]}")

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()
        self._default[1].close()


def wait_for_answer(lookups: Lookups) -> int:
    """As a smoke test does, before anybody else gets an answer. Returns its epoch."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return lookups.lookup(_core.decode_batch(BATCH), PATIENCE).epoch
        except Unavailable:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


@dataclass(frozen=True)
class Judgement:
    """How many answers there are, and how many are wrong in which way."""

    pairs: int
    versions: int
    mismatched: int  # whose epoch belongs to another version
    misread: int  # whose numbers are not those of their epoch


def judge_pairs(pairs: list[Pair], packets: Path, oracle: EpochOracle) -> Judgement:
    log = EpochLog(packets)
    log.read()

    def belongs(pair: Pair) -> bool:
        named: Mapping[str, str] = log.history.dense_at(pair.epoch)
        return pair.epoch > 0 and named.get(MODEL, pair.version) == pair.version

    return Judgement(
        len(pairs),
        len({pair.version for pair in pairs}),
        sum(not belongs(pair) for pair in pairs),
        sum(pair.numbers != oracle.answer(pair.epoch) for pair in pairs),
    )
