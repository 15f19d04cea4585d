"""What epochs cost and give: from a packet to its first answer, back again, lookups turn by turn, memory.

usage: PYTHONPATH=. python benchmarks/bench_epochs.py [--seconds 30] [--every 0.2] [--turns 40] [--returns 60]

Two shards are real processes on this machine, once with epochs and once without, with the same checkpoint. Packets change all
rows of both shards. How many answers are mixed without epochs, `make history WITHOUT_EPOCHS=1` says.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from persia import _core
from persia.formats.epoch import Draft
from persia.formats.epoch_log import EpochLog
from persia.routing.router import Router
from tests.support.epoch_deployments import EpochDeployment, routers_of
from tests.support.epoch_rows import BATCH, IDS, batch_of
from tests.support.histories import Recorder
from tests.support.servers import wait_until

SHAPES = (16, 256, 8192)  # ids of a lookup
IDLE_PAUSE = 0.02  # seconds between two lookups of a router that has little to do
ROWS, CHANGED, ROW_DIM, EPOCHS = 2_000_000, 100_000, 16, 16  # of the table whose memory is measured


def percentiles(seconds: list[float]) -> str:
    p50, p99 = np.percentile(seconds, [50, 99])
    return f"p50 {p50:.3f} s, p99 {p99:.3f} s, longest {max(seconds):.3f} s"


class First:
    """When each packet's record was there, and when the first answer came that has the packet."""

    def __init__(self, deployment: EpochDeployment) -> None:
        self._deployment = deployment
        self._left: dict[float, float] = {}  # when the packet was complete, by the value of its rows
        self.found: dict[float, float] = {}  # seconds until the first answer that has it or a later one

    def leave(self) -> None:
        directory = self._deployment.trainer.leave()
        self._left[self._deployment.trainer.value_of(directory)] = time.monotonic()

    def take(self, recorder: Recorder) -> None:
        """REQUIRES: all answers are taken in the order in which they came."""
        for answer in recorder.take():
            newest = np.frombuffer(answer.numbers, np.float16).min()
            for value in [value for value in self._left if value <= newest]:
                self.found[value] = answer.came - self._left.pop(value)


def freshness(deployment: EpochDeployment, router: Router, seconds: float, every: float) -> None:
    """From a packet to its first answer, while the router looks up without pause."""
    recorder, first, end = Recorder([router]), First(deployment), time.monotonic() + seconds
    while time.monotonic() < end:
        first.leave()
        time.sleep(every)
        first.take(recorder)
    recorder.stop()
    first.take(recorder)
    print(f"  busy router: {len(first.found)} packets, {percentiles(list(first.found.values()))}")


def idle_freshness(deployment: EpochDeployment, router: Router, seconds: float, every: float) -> None:
    """From a packet to the moment at which a router that nobody asks knows of it; its next lookup has the packet."""
    batch, found, end = _core.decode_batch(BATCH), [], time.monotonic() + seconds
    log = EpochLog(deployment.packets)
    while time.monotonic() < end:
        wanted = log.read() + 1
        deployment.trainer.leave()
        began = time.monotonic()
        replicas = [shard.replicas[0] for shard in router.shards]
        while min(replica.health.epoch_high for replica in replicas) < wanted:
            time.sleep(0.001)
        found.append(time.monotonic() - began)
        assert router.lookup(batch).epoch >= wanted
        time.sleep(every * np.random.default_rng().random() * 2)  # not in step with what the router does by itself
    print(f"  idle router: {len(found)} packets, {percentiles(found)}")


def returns(deployment: EpochDeployment, router: Router, count: int, every: float) -> None:
    """From the record of a return to the last answer of the epochs before it, and to the first one of what it went back to."""
    recorder, log, batch = Recorder([router]), EpochLog(deployment.packets), _core.decode_batch(BATCH)
    last, first = [], []
    for _ in range(count):
        before = log.read()
        deployment.trainer.leave()
        wait_until(lambda: before < log.read() == router.lookup(batch).epoch, "it is served")  # noqa: B023
        recorder.take()
        record = log.commit(Draft(revert_to=log.newest - 1), "operator")
        began = time.monotonic()
        assert record is not None
        recorder.wait_for_epoch(record.epoch)
        time.sleep(every)
        answers = recorder.take()
        old = [answer.came for answer in answers if answer.epoch < record.epoch and answer.came > began]
        last.append(max(old, default=began) - began)
        first.append(min(answer.came for answer in answers if answer.epoch >= record.epoch) - began)
    recorder.stop()
    print(f"  {count} returns: until the last answer of before {percentiles(last)}; until the first one {percentiles(first)}")
    print(f"  {len(recorder.failures)} lookups failed")


def memory() -> None:
    """What a changed row of an earlier epoch takes."""
    signs = np.arange(ROWS, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for storage, row_bytes in (("f32", 4 * ROW_DIM), ("f16", 2 * ROW_DIM)):
        builder = _core.TableBuilder(storage, 0, EPOCHS)
        builder.put(signs, np.ones((ROWS, ROW_DIM), np.float32))
        table, random = _core.Table(builder), np.random.default_rng(0)
        for epoch in range(1, EPOCHS + 2):
            layer = _core.Layer(storage)
            layer.put(random.choice(signs, CHANGED, replace=False), np.full((CHANGED, ROW_DIM), float(epoch), np.float32))
            table.begin_epoch(layer, epoch, epoch - 1)
            assert table.wait_folded(60)
        status = table.status()
        each = status.retained_bytes / CHANGED / status.retained_epochs
        print(
            f"  {storage}: {each:.0f} bytes for each changed row and epoch, of which the row has {row_bytes} "
            f"({status.retained_epochs} epochs, {status.epochs_given_up} given up)"
        )


def seconds_of(router: Router, batch: _core.Batch, lookups: int) -> float:
    began = time.perf_counter()
    for _ in range(lookups):
        router.lookup(batch)
    return time.perf_counter() - began


def ratios(with_epochs: Router, without: Router, turns: int) -> None:
    """How many lookups a second with epochs for one without, in turns that follow on each other."""
    for ids in SHAPES:
        batch = _core.decode_batch(batch_of(np.random.default_rng(0).choice(IDS, ids)))  # some more than once
        lookups = max(20, 20_000 // (ids + 100))
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
    parser.add_argument("--returns", type=int, default=60)
    arguments = parser.parse_args()
    print("memory of earlier epochs")
    memory()
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        deployments = {
            name: EpochDeployment(Path(directory) / name, stack, replicas=(1, 1), settings={"enable_epochs": name == "on"})
            for name in ("on", "off")
        }
        routers = {name: stack.enter_context(routers_of(one, 1))[0] for name, one in deployments.items()}
        print("lookups while no packet comes")
        ratios(routers["on"], routers["off"], arguments.turns)
        print(f"from a packet to its first answer, with a packet every {arguments.every} s, without epochs")
        freshness(deployments["off"], routers["off"], arguments.seconds, arguments.every)
        print("the same with epochs")
        freshness(deployments["on"], routers["on"], arguments.seconds, arguments.every)
        idle_freshness(deployments["on"], routers["on"], arguments.seconds, arguments.every)
        print("from a return to the last answer of before")
        returns(deployments["on"], routers["on"], arguments.returns, arguments.every)


if __name__ == "__main__":
    main()
