"""A model server under load for a long time, while its models are swapped and scaled and its workers are killed.

`make soak MINUTES=60` runs it. The callers ask at 70 % of what the server answers when nobody pauses. Of the front process the
memory, threads, files, and what it has unpacked must stay as they are; no request may be lost but those that a killed worker
had. Prints a table, and exits with 1 for what grew or was lost; then the directory with the log stays.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.support.model_servers import ModelServerRun, ask, make_mar
from tests.support.servers import wait_until
from tests.support.soak_callers import PATIENCE, Callers, Interval, wires
from tests.support.soak_samples import Sample, growth, sample_of

MODEL, VERSIONS, WORKERS = "steady", ("1.0", "2.0"), 2
SHARE = 0.7  # of the rate without pauses
ROWS = 12  # of the table
PAUSE = 10.0  # seconds between two changes
STOOD_STILL = 5.0  # a thread that sleeps for so much longer than it wished was stopped from outside
HEAD = "minutes  requests/s  median ms  99 % ms  died  lost     MiB  threads  files  unpacked  swaps  scalings  kills  stopped"


class Soak:
    """One server with two workers of one model, its callers, and what was seen of both."""

    def __init__(self, directory: Path) -> None:
        store, self._temporary = directory / "store", directory / "tmp"
        self._temporary.mkdir(parents=True)
        for version in VERSIONS:
            make_mar(store, MODEL, version)
        make_mar(store, "fails_to_load")
        self._server = ModelServerRun(
            directory,
            store,
            "--enable-model-api",
            environment={"TMPDIR": str(self._temporary)},
            default_response_timeout=int(PATIENCE),
        )
        self._change(f"models?url={MODEL}-{VERSIONS[0]}.mar&initial_workers={WORKERS}", "POST", 200)
        places = self._server.places
        self._callers = Callers(wires(places["grpc_inference"], places["inference"], MODEL))
        self._newest = 0
        self._began = time.monotonic()
        self.done: Counter[str] = Counter()
        self.samples: list[Sample] = []
        self.intervals: list[Interval] = []
        self.stood_still = 0.0

    def close(self) -> None:
        self._callers.end()
        self._server.__exit__(None, None, None)

    def begin(self, seconds: float) -> tuple[float, float]:
        """Measures for so long what the server can do, and asks at a share of that from now on. Returns both rates."""
        most = self._callers.most(seconds)
        self._callers.begin(SHARE * most)
        self._began = time.monotonic()
        return most, SHARE * most

    def changes(self) -> Iterator[str]:
        """One change after the other, without end. Each is over, and what the server holds is noted, when its name comes."""
        for name, change in itertools.cycle(
            [("swaps", self._swap), ("kills", self._kill), ("scalings", self._scale), ("failures", self._register_in_vain)]
        ):
            change()
            self.done[name] += 1
            self._wait_settled()
            self.samples.append(sample_of(self._server.process.pid, time.monotonic() - self._began, self._temporary))
            yield name

    def wait(self, seconds: float) -> None:
        """Between two changes."""
        began = time.monotonic()
        time.sleep(seconds)
        late = time.monotonic() - began - seconds
        self.stood_still += late if late > STOOD_STILL else 0.0

    def end(self) -> None:
        """The callers are done: all that they asked is answered."""
        self._callers.end()
        self.take()

    def take(self) -> Interval:
        """What became of the requests since the last time."""
        self.intervals.append(self._callers.take())
        return self.intervals[-1]

    def problems(self) -> list[str]:
        """What grew, and what was lost."""
        lost = [words for interval in self.intervals for words in interval.lost]
        died = sum(interval.died for interval in self.intervals)
        found = [f"lost: {words[:200]}" for words in lost[:20]]
        if died > self.done["kills"]:
            found.append(f"{died} requests died with {self.done['kills']} workers, each of which had one at most")
        return found + growth(self.samples)

    def _swap(self) -> None:
        old, self._newest = VERSIONS[self._newest], 1 - self._newest
        new = VERSIONS[self._newest]
        self._change(f"models?url={MODEL}-{new}.mar&initial_workers={WORKERS}", "POST", 200)
        self._change(f"models/{MODEL}/{new}/set-default", "PUT", 200)
        self._change(f"models/{MODEL}/{old}", "DELETE", 200)

    def _scale(self) -> None:
        for workers in (WORKERS + 1, WORKERS):
            self._change(f"models/{MODEL}?min_worker={workers}&synchronous=true", "PUT", 200)

    def _kill(self) -> None:
        workers = self._ready_workers()
        os.kill(workers[self.done["kills"] % len(workers)], signal.SIGKILL)
        wait_until(lambda: set(self._ready_workers()) - set(workers), "another worker is ready", PATIENCE)

    def _register_in_vain(self) -> None:
        self._change("models?url=fails_to_load-1.0.mar&initial_workers=1", "POST", 500)

    def _change(self, path: str, method: str, status: int) -> None:
        answer = ask(self._server.management(path), None, method, timeout=PATIENCE)
        assert answer.status == status, f"{method} {path}: {answer.status} {answer.body.decode()}"

    def _ready_workers(self) -> list[int]:
        """Their processes."""
        (described,) = ask(self._server.management(f"models/{MODEL}"), timeout=PATIENCE).json
        return [worker["pid"] for worker in described["workers"] if worker["status"] == "READY"]

    def _wait_settled(self) -> None:
        wait_until(lambda: len(self._ready_workers()) == WORKERS, "all workers are ready", PATIENCE)


def row_of(soak: Soak, interval: Interval, seconds: float) -> str:
    sample, done = soak.samples[-1], soak.done
    took = sorted(interval.seconds) or [float("nan")]
    return (
        f"{sample.seconds / 60:7.1f}  {interval.answered / seconds:10.0f}  {1e3 * statistics.median(took):9.2f}"
        f"  {1e3 * took[int(0.99 * len(took))]:7.1f}  {interval.died:4}  {len(interval.lost):4}  {sample.memory / 2**20:6.1f}"
        f"  {sample.threads:7}  {sample.files:5}  {sample.left:8}  {done['swaps']:5}  {done['scalings']:8}  {done['kills']:5}"
        f"  {soak.stood_still:6.0f} s"
    )


def run(directory: Path, minutes: float) -> list[str]:
    """Returns what is wrong."""
    soak = Soak(directory)
    try:
        most, rate = soak.begin(10.0)
        print(f"without pauses {most:.0f} requests a second are answered, from now on {rate:.0f} are asked\n{HEAD}", flush=True)
        began = row_began = time.monotonic()
        for _ in soak.changes():
            now = time.monotonic()
            if now - row_began >= 60 * minutes / ROWS:
                interval = soak.take()
                print("\n".join([row_of(soak, interval, now - row_began), *interval.lost]), flush=True)
                row_began = now
            if now - began >= 60 * minutes:
                break
            soak.wait(PAUSE)
        soak.end()
        answered, given_up, died, lost = (
            sum(one.answered for one in soak.intervals),
            sum(one.given_up for one in soak.intervals),
            sum(one.died for one in soak.intervals),
            sum(len(one.lost) for one in soak.intervals),
        )
        print(f"{answered} requests were answered, {given_up} given up by callers, {died} died with a worker, {lost} were lost")
        return soak.problems()
    finally:
        soak.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    minutes = parser.parse_args().minutes
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    if problems := run(directory, minutes):
        sys.exit("\n".join([*problems, f"the server's log is in {directory}"]))
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
