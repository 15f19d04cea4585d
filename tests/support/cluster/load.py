"""A process that leaves packets and asks for their rows all the time. Each line of its input gets one of what happened since.

It stands for clients and trainer of a deployment, on a machine beside the cluster. One router asks the embedding servers as the
middlewares direct, the other has a middleware look up for it.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from persia.config import load_global_config
from persia.routing import connect
from persia.routing.lookup import Lookups, RouterOptions
from persia.security import ClientSecurity
from tests.support.epoch_rows import CONFIG, EpochOracle, EpochTrainer
from tests.support.histories import Answer, Judge, Recorder

PAUSE = 0.01  # between two lookups of a router: the cluster has the same two processors
PATIENCE = 10.0  # of a caller
START_SECONDS = 120.0
THROUGH_MIDDLEWARES = 1  # the number of that router


@dataclass
class Happened:
    """Since the last line."""

    answers: int = 0
    failed: int = 0
    failures: dict[str, int] = field(default_factory=dict)  # the message of each kind of failure, and how often it came
    wrong: dict[str, int] = field(default_factory=dict)  # mixed, of another epoch, fallen, and so on
    worst_seconds: float = 0.0
    first_epoch: int = 0
    last_epoch: int = 0
    examples: list[str] = field(default_factory=list)


class Account:
    """What the recorder got, judged line by line."""

    def __init__(self, recorder: Recorder, oracle: EpochOracle) -> None:
        self._recorder, self._oracle, self._failures_told = recorder, oracle, 0

    def take(self) -> Happened:
        """The sum of what has come since the last call."""
        answers, judge = [_judged(answer) for answer in self._recorder.take()], Judge(self._oracle)
        failures = self._recorder.failures[self._failures_told :]
        self._failures_told += len(failures)
        judge.take(answers)
        times = [answer.came - answer.asked for answer in answers] + [failure.came - failure.asked for failure in failures]
        epochs = [answer.epoch for answer in answers]
        return Happened(
            answers=len(answers),
            failed=len(failures),
            failures=dict(Counter(f"{type(failure.error).__name__}: {failure.error}"[:300] for failure in failures)),
            wrong=dict(judge.verdict.wrong),
            worst_seconds=max(times, default=0.0),
            first_epoch=min(epochs, default=0),
            last_epoch=max(epochs, default=0),
            examples=judge.verdict.examples,
        )


def _judged(answer: Answer) -> Answer:
    """Epochs may fall a little for whoever goes through several middlewares: each has answered from epochs of its own."""
    return replace(answer, known=0) if answer.router == THROUGH_MIDDLEWARES else answer


@contextmanager
def packets_every(trainer: EpochTrainer, seconds: float) -> Iterator[None]:
    """One of all rows, within the `with`."""
    done = threading.Event()

    def leave() -> None:
        while not done.wait(seconds):
            trainer.leave()

    thread = threading.Thread(target=leave)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def routers_to(middleware: str, global_config: Path) -> list[Lookups]:
    config = load_global_config(global_config)
    options = RouterOptions.of(config, ClientSecurity(config.security))
    ways = [replace(options, clients_ask_shards=way) for way in (True, False)]
    end = time.monotonic() + START_SECONDS
    return [connect([middleware], way, end, embedding_config=lambda: CONFIG) for way in ways]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("middleware", help="HOST:PORT")
    parser.add_argument("--global-config", type=Path, required=True, help="with the section `security`")
    parser.add_argument("--packets", type=Path, required=True)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two packets")
    options = parser.parse_args()
    with ExitStack() as stack:
        trainer = EpochTrainer(options.packets)
        trainer.leave()
        routers = routers_to(options.middleware, options.global_config)
        for router in routers:
            stack.callback(router.close)
        stack.enter_context(packets_every(trainer, options.every))
        recorder = Recorder(routers, timeout=PATIENCE, pause=PAUSE)
        stack.callback(recorder.stop)
        recorder.wait_for_epoch(1, START_SECONDS)
        account = Account(recorder, EpochOracle(trainer))
        account.take()
        print("ready", flush=True)
        for _ in sys.stdin:
            print(json.dumps(asdict(account.take())), flush=True)


if __name__ == "__main__":
    main()
