"""Many requests, several at a time, and what came of them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from persia.errors import PersiaError

__all__ = ["Outcome", "send_all"]

_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


@dataclass
class Outcome(Generic[_Answer]):
    """answers: of each batch the first one, None if it failed. seconds: of each call that was answered."""

    answers: list[_Answer | None]
    seconds: list[float] = field(default_factory=list)
    wall_seconds: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    first_error: PersiaError | None = None

    def summary(self) -> Iterator[str]:
        """A line for those that were answered, one for each kind of failure."""
        if self.seconds:
            p50, p90, p99, most = np.percentile(self.seconds, [50, 90, 99, 100]) * 1000
            rate = len(self.seconds) / self.wall_seconds
            yield (
                f"{len(self.seconds)} answers in {self.wall_seconds:.2f} s ({rate:.1f}/s): "
                f"p50 {p50:.2f} ms, p90 {p90:.2f} ms, p99 {p99:.2f} ms, max {most:.2f} ms"
            )
        for kind, count in sorted(self.errors.items()):
            yield f"{count} failed with {kind}"


def send_all(
    predict: Callable[[_Request], _Answer],
    batches: Sequence[_Request],
    repeat: int = 1,
    concurrency: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Outcome[_Answer]:
    """Sends every batch `repeat` times, `concurrency` calls at a time. A call that fails is counted, and the others go on.

    An exception that is no PersiaError, such as an interrupt, is raised once the calls under way have ended. No more calls are
    made after it.
    """
    outcome: Outcome[_Answer] = Outcome([None] * len(batches))
    numbers = iter(range(len(batches) * repeat))
    lock = threading.Lock()
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            begin = time.perf_counter()
            answer, error = None, None
            try:
                answer = predict(batches[number % len(batches)])
            except PersiaError as caught:
                error = caught
            seconds = time.perf_counter() - begin
            with lock:
                if error is not None:
                    outcome.errors[type(error).__name__] += 1
                    outcome.first_error = outcome.first_error or error
                else:
                    outcome.seconds.append(seconds)
                    if number < len(batches):
                        outcome.answers[number] = answer
                progress(1)

    begin = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        # Stopped in here, as the pool's end waits for the workers, however many numbers are left.
        try:
            for future in as_completed([pool.submit(work) for _ in range(concurrency)]):
                future.result()
        except BaseException:
            stopped.set()
            raise
    outcome.wall_seconds = time.perf_counter() - begin
    return outcome
