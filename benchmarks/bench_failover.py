"""What servers that are killed cost those who look up meanwhile.

usage: PYTHONPATH=. python benchmarks/bench_failover.py [--seconds 60] [--every 2] [--threads 4] [--deadline 0.5]

    replicas  two shards with two replicas: every few seconds one of each is killed, and started again before the next turn
    single    two shards without: one of them is killed and started again in the same way; a lookup has its deadline

Every answer is compared with the golden tensors. The servers are real processes on this machine, with the golden checkpoint.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from persia.errors import PersiaError
from persia.routing.router import Router
from tests.support.replicas import Replicas, assert_golden, golden_batch, router_of
from tests.support.servers import EmbeddingServer, wait_until


class TimedLoad:
    """Threads that look up; the seconds that each answer and each error took."""

    def __init__(self, router: Router, threads: int, deadline: float) -> None:
        self._router, self._deadline = router, deadline
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        self.answers: list[float] = []
        self.errors: list[tuple[str, float]] = []
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        batch = golden_batch()
        while not self._done.is_set():
            began = time.perf_counter()
            try:
                lookup = self._router.lookup(batch, self._deadline)
            except PersiaError as error:
                self.errors.append((type(error).__name__, time.perf_counter() - began))
                time.sleep(0.001)
            else:
                self.answers.append(time.perf_counter() - began)
                assert_golden(lookup)

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


def kill_in_turn(groups: list[list[EmbeddingServer]], router: Router, seconds: float, every: float) -> int:
    """Kills the next group, starts it again, and goes on when it is in use and its time is over. Returns how many died."""
    end, killed = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        next_turn = time.monotonic() + every
        group = groups[killed // len(groups[0]) % len(groups)]
        for server in group:
            server.kill()
        time.sleep(every / 4)  # dead for a while
        for server in group:
            server.start()
            killed += 1
        wait_until(lambda: all(r.usable for shard in router.shards for r in shard.replicas), "they are back")
        time.sleep(max(0.0, next_turn - time.monotonic()))
    return killed


def milliseconds(times: list[float]) -> str:
    p50, p99, worst = np.percentile(times, [50, 99, 100]) * 1000
    return f"p50 {p50:.2f}, p99 {p99:.2f}, worst {worst:.0f} ms"


def bench(directory: Path, replicas: int, options: argparse.Namespace, deadline: float) -> tuple[TimedLoad, int]:
    with Replicas(directory, each=replicas) as servers, router_of(servers.addresses) as router:
        groups = [list(group) for group in zip(*servers.shards, strict=True)] if replicas > 1 else [servers.shards[1]]
        load = TimedLoad(router, options.threads, deadline)
        try:
            killed = kill_in_turn(groups, router, options.seconds, options.every)
        finally:
            load.stop()
    return load, killed


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--every", type=float, default=2)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--deadline", type=float, default=0.5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        load, killed = bench(Path(directory) / "replicas", 2, options, 10.0)
        print(
            f"replicas  {killed} killed, {len(load.answers)} lookups, {len(load.errors)} failed, {milliseconds(load.answers)}"
        )
        load, killed = bench(Path(directory) / "single", 1, options, options.deadline)
        print(f"single    {killed} killed, {len(load.answers)} lookups, {milliseconds(load.answers)}")
        late = max((seconds for _, seconds in load.errors), default=0.0) - options.deadline
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(kind for kind, _ in load.errors).items())
        print(f"single    {kinds or 'no errors'}; the latest came {late * 1000:+.0f} ms from its deadline")


if __name__ == "__main__":
    main()
