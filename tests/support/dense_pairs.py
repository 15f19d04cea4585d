"""A dense model that is switched again and again with its rows: who asks for it, and which pairs of the two were given out.

What stands for the dense model is its version: an answer is wrong if its epoch's record names another one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from persia import _core
from persia.dense_version import DenseVersion
from persia.errors import PersiaError
from persia.formats.epoch_log import EpochLog
from persia.routing.lookup import Lookups
from tests.support.epoch_rows import BATCH, EpochOracle
from tests.support.histories import numbers_of
from tests.support.servers import PATIENCE, once_available, wait_until

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
        # Each thread may have an answer of the old one under way.
        least = len(self.pairs) + 2 * len(self._threads)
        wait_until(lambda: len(self.pairs) >= least or self.failures, "nobody asks the old version any more")
        old.close()

    def wait_for(self, version: str, epoch: int) -> None:
        """Until somebody has been given that version with that epoch or a later one."""

        def is_given() -> bool:
            return any(pair.version == version and pair.epoch >= epoch for pair in self.pairs)

        wait_until(is_given, f"somebody is given {version} at epoch {epoch} or later")

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()
        self._default[1].close()


def wait_for_answer(lookups: Lookups) -> int:
    """As a smoke test does, before anybody else gets an answer. Returns its epoch."""
    return once_available(lambda: lookups.lookup(_core.decode_batch(BATCH), PATIENCE).epoch)


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
