"""Answers of routers while epochs come, with what each says of itself, and what is wrong with them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from persia import _core
from persia.errors import PersiaError
from persia.routing.lookup import Lookup, Lookups
from tests.support.epoch_rows import BATCH, EpochOracle

# Each so manieth lookup asks for the newest epoch that any router has answered from, as who has to read what was written.
AT_LEAST_EACH = 50


@dataclass(frozen=True)
class Answer:
    """Times by time.monotonic()."""

    router: int
    asked: float
    came: float
    epoch: int
    numbers: bytes
    known: int  # the newest epoch that the same router had answered from when it was asked
    at_least: int  # what was asked for
    variant: str = ""


@dataclass(frozen=True)
class Failure:
    asked: float
    came: float
    error: PersiaError


class Recorder:
    """Threads that look the batch up, each with a router of its own, until stop()."""

    def __init__(self, routers: Sequence[Lookups], threads_each: int = 1, timeout: float = 60.0, pause: float = 0.0) -> None:
        """timeout: of a lookup. pause: seconds before each lookup of a thread."""
        self.failures: list[Failure] = []
        self._answers: list[Answer] = []
        self._variants = [""]
        self._newest = [0 for _ in routers]  # epochs that they have answered from
        self._newest_of: dict[tuple[int, str], int] = {}  # the same of a router and a variant
        self._asked = [0.0 for _ in routers]  # when the last lookup began that they have answered
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._timeout, self._pause = timeout, pause
        self._threads = [
            threading.Thread(target=self._run, args=(number, router))
            for number, router in enumerate(routers)
            for _ in range(threads_each)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int, router: Lookups) -> None:
        batch, asked_for = _core.decode_batch(BATCH), 0
        while not self._done.wait(self._pause):
            asked_for += 1
            variant = self._variants[asked_for % len(self._variants)]
            known, at_least = self._newest_of.get((number, variant), 0), 0
            if asked_for % AT_LEAST_EACH == 0:
                at_least = max(self._newest)
            asked = time.monotonic()
            try:
                lookup = router.lookup(batch, self._timeout, None, at_least, variant)
            except PersiaError as error:
                self.failures.append(Failure(asked, time.monotonic(), error))
                self._done.wait(0.02)  # it may be some time until others can be asked
                continue
            answer = Answer(number, asked, time.monotonic(), lookup.epoch, numbers_of(lookup), known, at_least, variant)
            with self._lock:
                self._answers.append(answer)
                self._newest_of[number, variant] = max(known, answer.epoch, self._newest_of.get((number, variant), 0))
                if not variant:
                    self._newest[number] = max(self._newest[number], answer.epoch)
                self._asked[number] = max(self._asked[number], asked)

    def ask_for(self, *variants: str) -> None:
        """From now on, lookups ask for these in turn; an empty name is that of none. REQUIRES: one of them is empty."""
        self._variants = list(variants)

    def take(self) -> list[Answer]:
        """The answers that have come since the last call."""
        with self._lock:
            taken, self._answers = self._answers, []
        return taken

    def answered_since(self, moment: float) -> bool:
        """Whether each router has answered a lookup that began after it."""
        return min(self._asked) > moment

    def wait_for_epoch(self, epoch: int, seconds: float = 60.0) -> None:
        """Until each router has answered from it or a later one."""
        self._wait_for(lambda: min(self._newest) >= epoch, f"epoch {epoch}", seconds)

    def _wait_for(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"no answers of {what} in {seconds} s: those of the routers are of {self._newest}"
            self._done.wait(0.001)

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


def numbers_of(lookup: Lookup) -> bytes:
    (tensor,) = lookup.tensors
    return tensor.tobytes()


@dataclass
class Verdict:
    """How many answers there are, of how many epochs, and how many are wrong in which way."""

    answers: int = 0
    epochs: set[int] = field(default_factory=set)
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = ", ".join(f"{count} {what}" for what, count in sorted(self.wrong.items())) or "none is wrong"
        return f"{self.answers} answers of {len(self.epochs)} epochs: {said}"


class Judge:
    """Holds answers against the rows of their epochs, and routers against their own past."""

    def __init__(self, oracle: EpochOracle) -> None:
        self.verdict = Verdict()
        self._oracle = oracle
        self._right: set[tuple[int, str, bytes]] = set()  # of what epoch and variant, and what numbers

    def take(self, answers: Iterable[Answer]) -> None:
        for answer in answers:
            self.verdict.answers += 1
            self.verdict.epochs.add(answer.epoch)
            if (answer.epoch, answer.variant, answer.numbers) not in self._right:
                self._look_at(answer)
            if answer.epoch < answer.known:
                self._say("fallen", answer)
            if answer.epoch < answer.at_least:
                self._say("older than was asked for", answer)

    def _look_at(self, answer: Answer) -> None:
        """Whether its rows are those of the epoch that it names."""
        if answer.epoch == 0:
            self._say("of no epoch", answer)
        elif answer.numbers == self._oracle.answer(answer.epoch, answer.variant):
            self._right.add((answer.epoch, answer.variant, answer.numbers))
        elif answer.variant and answer.numbers == self._oracle.answer(answer.epoch):
            self._say("of no variant", answer)
        elif any(
            answer.numbers == self._oracle.answer(epoch, answer.variant) for epoch in range(len(self._oracle.records()) + 1)
        ):
            self._say("of another epoch", answer)
        else:
            self._say("mixed", answer)

    def _say(self, what: str, answer: Answer) -> None:
        self.verdict.wrong[what] += 1
        if len(self.verdict.examples) < 10:
            self.verdict.examples.append(
                f"{what}: router {answer.router}, variant {answer.variant!r}, epoch {answer.epoch}, after {answer.known}, "
                f"asked for {answer.at_least}"
            )
