"""What epochs cost and give: mixed answers with and without them, from a packet to its first answer, lookups turn by turn.

usage: PYTHONPATH=. python benchmarks/bench_epochs.py [--seconds 30] [--every 0.2] [--turns 40]

Two shards are real processes on this machine, once with epochs and once without, with the same checkpoint. A router in this
process looks up all rows without pause, while packets change all rows of both shards.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from persia import _core
from persia.batch import IDTypeFeatureWithSingleID, PersiaBatch
from persia.routing.lookup import RouterOptions
from persia.routing.router import Router
from persia.writers import write_checkpoint
from tests.support.histories import (
    CHECKPOINT_VALUE,
    CONFIG,
    CONFIG_TEXT,
    DIM,
    IDS,
    SIGNS,
    Oracle,
    Recorder,
    judge,
    value_of,
    write_packet,
)
from tests.support.servers import EmbeddingServer, wait_until

SHAPES = (16, 256, 8192)  # ids of a lookup


class Deployment:
    """Two shards, and a router."""

    def __init__(self, directory: Path, stack: ExitStack, enable_epochs: bool) -> None:
        self.packets = directory / "packets"
        self.packets.mkdir(parents=True)
        config = directory / "embedding_config.yml"
        config.write_text(CONFIG_TEXT)
        checkpoint = directory / "checkpoint"
        write_checkpoint(checkpoint, [(SIGNS, np.full((IDS, DIM), CHECKPOINT_VALUE, np.float32))], shards=2)
        servers = [
            stack.enter_context(
                EmbeddingServer(
                    directory / str(index),
                    config,
                    checkpoint=checkpoint,
                    incremental_dir=self.packets,
                    index=index,
                    count=2,
                    settings={"enable_epochs": enable_epochs},
                )
            )
            for index in range(2)
        ]
        for server in servers:
            server.wait_ready()
        self.router = Router(CONFIG, [[server.address] for server in servers], RouterOptions())
        stack.callback(self.router.close)
        wait_until(lambda: not self.router.missing(), "all can be used")

    def history(self, seconds: float, every: float) -> None:
        """Packets one after the other, and what became of the answers meanwhile."""
        written: dict[str, tuple[int, np.ndarray]] = {}
        began: dict[bytes, float] = {}
        recorder = Recorder([self.router])
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            second = len(written) + 1
            written[f"s0/inc_2026{second:010d}"] = second, np.arange(IDS)
            write_packet(self.packets, second, np.arange(IDS))
            began[np.full(IDS, value_of(second), np.float16).tobytes()] = time.monotonic()
            time.sleep(every)
        recorder.stop()
        answers = recorder.answers
        oracle = Oracle(self.packets, written)
        if (self.packets / ".epochs").exists():
            print(f"  {judge(answers, oracle, len(list((self.packets / '.epochs').iterdir())))}")
        mixed = sum(len(set(np.frombuffer(answer.rows, np.float16))) > 1 for answer in answers)
        first: dict[bytes, float] = {}
        for answer in answers:
            first.setdefault(answer.rows, answer.came)
        delays = np.array([first[rows] - began[rows] for rows in began if rows in first])
        p50, p99 = np.percentile(delays, [50, 99])
        print(
            f"  {mixed} of {len(answers)} answers mixed ({100 * mixed / len(answers):.2f} %), {len(recorder.failures)} failed"
        )
        print(f"  {len(written)} packets; from a packet to its first answer p50 {p50:.3f} s, p99 {p99:.3f} s")


def batch_of(ids: int) -> _core.Batch:
    """So many ids, of which some are asked for more than once."""
    chosen = np.random.default_rng(0).choice(IDS, ids).astype(np.uint64)
    return _core.decode_batch(PersiaBatch([IDTypeFeatureWithSingleID("a", chosen)], requires_grad=False).to_bytes())


def seconds_of(router: Router, batch: _core.Batch, lookups: int) -> float:
    began = time.perf_counter()
    for _ in range(lookups):
        router.lookup(batch)
    return time.perf_counter() - began


def ratios(with_epochs: Router, without: Router, turns: int) -> None:
    """How many lookups a second with epochs for one without, in turns that follow on each other."""
    for ids in SHAPES:
        batch, lookups = batch_of(ids), max(20, 20_000 // (ids + 100))
        found = []
        for turn in range(turns + 1):
            one, other = seconds_of(with_epochs, batch, lookups), seconds_of(without, batch, lookups)
            if turn:  # the first is to get warm
                found.append(other / one)
        low, median, high = np.percentile(found, [25, 50, 75])
        print(f"  {ids:5} ids: {median:.3f} of the lookups without epochs (quartiles {low:.3f} to {high:.3f}, {turns} turns)")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=0.2)
    parser.add_argument("--turns", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        deployments = {name: Deployment(Path(directory) / name, stack, name == "on") for name in ("on", "off")}
        print("lookups while no packet comes")
        ratios(deployments["on"].router, deployments["off"].router, arguments.turns)
        for name, deployment in deployments.items():
            print(f"packets every {arguments.every} s, epochs {name}")
            deployment.history(arguments.seconds, arguments.every)


if __name__ == "__main__":
    main()
