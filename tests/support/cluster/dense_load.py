"""A process that asks a dense model all the time, and says what came: as tests.support.cluster.load does for lookups.

A score of these models is the number of a row, and the last one is the version of the model (see archives). So an
answer tells whether all of its rows are of the epoch that it names, and whether that epoch belongs to the version that scored.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from persia.client.predict import Client
from persia.config import load_global_config
from persia.errors import PersiaError, Unavailable
from persia.formats.epoch_log import EpochLog
from tests.support.cluster.load import PATIENCE, START_SECONDS, Happened
from tests.support.dense_pairs import MODEL
from tests.support.epoch_rows import BATCH
from tests.support.servers import once_available, wait_until

PAUSE = 0.05
BEFORE_ANOTHER_TRY = 0.1  # a connection that breaks takes what was under way with it, and another try is the caller's


@dataclass(frozen=True)
class Scored:
    """An answer, and how long it took."""

    version: str
    named: str  # which version it is by its details
    epoch: int
    is_whole: bool  # whether all rows have one number, as each packet here writes all of them
    seconds: float


class Asking:
    """Threads that ask until stop()."""

    def __init__(self, client: Client, threads: int = 2) -> None:
        self._client, self._done, self._lock = client, threading.Event(), threading.Lock()
        self._scored: list[Scored] = []
        self._failures: list[tuple[float, PersiaError]] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._done.wait(PAUSE):
            asked = time.monotonic()
            try:
                scored = self._ask(asked)
            except PersiaError as error:
                with self._lock:
                    self._failures.append((time.monotonic() - asked, error))
                continue
            with self._lock:
                self._scored.append(scored)

    def _ask(self, asked: float) -> Scored:
        while True:
            try:
                scores, details = self._client.predict(BATCH, asked + PATIENCE - time.monotonic(), details=True)
                break
            except Unavailable:
                if time.monotonic() + BEFORE_ANOTHER_TRY > asked + PATIENCE:
                    raise
                time.sleep(BEFORE_ANOTHER_TRY)
        assert details is not None
        *rows, version = np.reshape(np.asarray(scores), -1)
        is_whole = len(set(rows)) == 1
        seconds = time.monotonic() - asked
        return Scored(f"{int(version)}.0", details.model_version or "", details.epoch or 0, is_whole, seconds)

    def take(self, packets: Path) -> Happened:
        """The sum of what has come since the last call. packets: where the records of epochs lie."""
        with self._lock:
            scored, self._scored = self._scored, []
            failures, self._failures = self._failures, []
        log = EpochLog(packets)
        log.read()
        wrong = Counter(what for one in scored if (what := wrong_with(one, log)))
        times = [one.seconds for one in scored] + [seconds for seconds, _ in failures]
        epochs = [one.epoch for one in scored]
        return Happened(
            answers=len(scored),
            failed=len(failures),
            failures=dict(Counter(f"{type(error).__name__}: {error}"[:300] for _, error in failures)),
            wrong=dict(wrong),
            worst_seconds=max(times, default=0.0),
            first_epoch=min(epochs, default=0),
            last_epoch=max(epochs, default=0),
            examples=[f"{what}: {one}" for one in scored if (what := wrong_with(one, log))][:10],
        )

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


def wrong_with(scored: Scored, log: EpochLog) -> str:
    """Empty: nothing."""
    if not scored.is_whole:
        return "mixed"
    if scored.version != scored.named:
        return "of another version than it says"
    if log.history.dense_at(scored.epoch).get(MODEL, scored.version) != scored.version:
        return "rows of another version"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", help="HOST:PORT")
    parser.add_argument("--global-config", type=Path, required=True, help="with the section `security`")
    parser.add_argument("--packets", type=Path, required=True)
    options = parser.parse_args()
    security = load_global_config(options.global_config).security
    with Client(MODEL, options.models, security=security, timeout=PATIENCE) as client:
        once_available(lambda: client.predict(BATCH, START_SECONDS))
        asking = Asking(client)
        try:
            wait_until(lambda: asking._scored, "somebody is answered")
            print("ready", flush=True)
            for _ in sys.stdin:
                print(json.dumps(asdict(asking.take(options.packets))), flush=True)
        finally:
            asking.stop()


if __name__ == "__main__":
    main()
