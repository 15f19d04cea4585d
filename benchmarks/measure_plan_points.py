"""Measures what `persia-launcher plan` reckons with: memory of rows and of earlier epochs, and what lookups take of processors.

usage: PYTHONPATH=.:tests python benchmarks/measure_plan_points.py [--output points.json] [--seconds 0.25] [--machine TEXT]

Embedding servers and a middleware are real processes on this machine, for 1, 2, 4 and 8 shards. For each kind of lookup one
caller asks, once through the middleware and once by a router of its own. Seconds of processors are those that the kernel has
counted for all threads of a process (schedstat); other work on the machine makes them somewhat more, and the times from begin
to end (p50, p99) much more: measure those on a quiet machine. Of the times, the best of eight rounds counts.

Some points are held out: the model is not fitted to them. How far off it is there is printed at the end, and beside each plan.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path

import msgspec
import numpy as np

from persia import _core
from persia.batch import IDTypeFeature, PersiaBatch
from persia.config import EmbeddingConfig, SlotConfig
from persia.planning.model import CostModel
from persia.planning.points import EpochPoint, LookupPoint, MemoryPoint, Points, Through
from persia.planning.workload import STORAGES, Storage
from persia.routing.forwarded import MiddlewareClient
from persia.routing.lookup import Lookups, RouterOptions
from persia.routing.router import Router
from persia.routing.slots import make_slots
from persia.rpc.wire import SHARD_STATUS
from persia.system.process import keep_freed_memory
from persia.v1 import embedding_pb2 as pb
from persia.writers import write_checkpoint
from tests.support.middlewares import Deployment
from tests.support.servers import wait_until

DIMS, FEATURES, ROWS = (16, 32, 64), 26, 10_000  # rows of each feature and dim
BATCHES = 8  # that a caller asks for in turn
# (samples, features, ids, dim): to fit, and to hold out, by the number of shards.
FIT = {
    1: [(1, 26, 1, 16), (128, 26, 1, 16), (128, 26, 16, 16), (128, 26, 1, 64)],
    2: [(1, 26, 1, 16), (1, 4, 1, 16), (128, 4, 16, 16), (128, 26, 1, 16), (128, 26, 16, 64), (32, 26, 8, 64)],
    4: [(1, 26, 1, 16), (128, 26, 1, 16), (128, 26, 16, 16), (16, 26, 16, 64)],
    8: [(1, 26, 1, 16), (128, 26, 16, 16)],
}
HELD_OUT = {
    2: [(16, 26, 4, 16), (128, 26, 4, 32), (512, 26, 1, 16)],
    4: [(64, 26, 1, 64), (8, 8, 2, 32)],
    8: [(128, 26, 1, 16), (32, 26, 8, 32)],
}
ROUNDS = 8
PROBES = 300
TABLES = {"fit": ((8, 16, 64, 128), (200_000,)), "held out": ((32,), (150_000, 600_000))}


def slot_name(feature: int, dim: int) -> str:
    return f"d{dim}_f{feature}"


CONFIG = EmbeddingConfig(slots_config={slot_name(f, dim): SlotConfig(dim=dim) for dim in DIMS for f in range(FEATURES)})


def write_model(directory: Path, shards: int) -> None:
    directory.mkdir()
    text = "".join(f"  {slot_name(f, dim)}: {{dim: {dim}}}\n" for dim in DIMS for f in range(FEATURES))
    (directory / "embedding_config.yml").write_text("slots_config:\n" + text)
    rng = np.random.default_rng(0)
    blocks = (
        (slot_name(f, dim), np.arange(ROWS, dtype=np.uint64), rng.standard_normal((ROWS, dim), np.float32))
        for dim in DIMS
        for f in range(FEATURES)
    )
    write_checkpoint(directory / "ckpt", blocks, shards=shards, embedding_config=CONFIG)


def batch_of(rng: np.random.Generator, samples: int, features: int, ids: int, dim: int) -> _core.Batch:
    drawn = rng.integers(0, ROWS, (features, samples, ids)).astype(np.uint64)
    named = [IDTypeFeature(slot_name(f, dim), list(drawn[f])) for f in range(features)]
    return _core.decode_batch(PersiaBatch(named, requires_grad=False).to_bytes())


def signs_of_feature(batches: list[_core.Batch], features: int) -> float:
    """Different ids, on average."""
    slots = make_slots(CONFIG)
    counts = [len(_core.make_plan(one, slots, 1).requests[0].signs) for one in batches]
    return float(np.mean(counts)) / features


def processor_seconds(pid: int) -> float:
    """That all threads which it has now have had so far."""
    folders = list(Path(f"/proc/{pid}/task").iterdir())
    return sum(int((folder / "schedstat").read_text().split()[0]) for folder in folders) / 1e9


def resident_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


class Side:
    """The processes of one way to look up, and what they have taken of processors."""

    def __init__(self, through: Through, lookups: Lookups, shards: list[int], router: int) -> None:
        self.through, self.lookups, self._shards, self._router = through, lookups, shards, router

    def taken(self) -> tuple[float, float]:
        return sum(map(processor_seconds, self._shards)), processor_seconds(self._router)

    def measure(self, kind: tuple[int, int, int, int], shards: int, seconds: float, *, held_out: bool) -> LookupPoint:
        samples, features, ids, dim = kind
        rng = np.random.default_rng(7)
        batches = [batch_of(rng, *kind) for _ in range(BATCHES)]
        for batch in batches:
            self.lookups.lookup(batch)
        times: list[list[float]] = []
        before, count = self.taken(), 0
        for _ in range(ROUNDS):
            times.append([])
            end = time.perf_counter() + seconds
            while (now := time.perf_counter()) < end or len(times[-1]) < 30:
                self.lookups.lookup(batches[count % BATCHES])
                times[-1].append(time.perf_counter() - now)
                count += 1
        shard, router = (after - earlier for after, earlier in zip(self.taken(), before, strict=True))
        best = np.array([np.percentile(one, [50, 99]) for one in times]).min(axis=0)
        return LookupPoint(
            through=self.through,
            samples=samples,
            features=features,
            ids=ids,
            signs=round(signs_of_feature(batches, features), 3),
            dim=dim,
            shards=shards,
            shard_seconds=float(f"{shard / count:.4g}"),
            router_seconds=float(f"{router / count:.4g}"),
            p50=float(f"{best[0]:.4g}"),
            p99=float(f"{best[1]:.4g}"),
            load=round(os.getloadavg()[0], 1),
            held_out=held_out,
        )


@contextmanager
def sides_of(directory: Path, shards: int) -> Iterator[tuple[Deployment, list[Side]]]:
    write_model(directory, shards)
    with Deployment(directory, directory, shards) as deployment, ExitStack() as stack:
        for server in deployment.shards:
            server.wait_ready()
        deployment.middleware.wait_ready()
        pids = [server.process.pid for server in deployment.shards]
        options = RouterOptions()
        router = Router(CONFIG, [[address] for address in deployment.addresses], options)
        forwarding = MiddlewareClient([deployment.middleware.address], options)
        ways: list[tuple[Through, Router | MiddlewareClient, int]] = [
            ("handlers", router, os.getpid()),
            ("middleware", forwarding, deployment.middleware.process.pid),
        ]
        for _, lookups, _ in ways:
            stack.callback(lookups.close)
            wait_until(lambda: not lookups.why_not_ready(), "lookups can be answered")  # noqa: B023
        yield deployment, [Side(through, lookups, pids, router_pid) for through, lookups, router_pid in ways]


def measure_probes(deployment: Deployment) -> tuple[float, float]:
    """What a question how it is takes of processors, of who asks and of the server."""
    server = deployment.shards[0]
    replica, request = _core.net.Replica(server.address), pb.StatusRequest().SerializeToString()
    before = processor_seconds(os.getpid()), processor_seconds(server.process.pid)
    for _ in range(PROBES):
        pb.StatusResponse.FromString(replica.call(SHARD_STATUS, request, 10.0))
    after = processor_seconds(os.getpid()), processor_seconds(server.process.pid)
    replica.close()
    return (after[0] - before[0]) / PROBES, (after[1] - before[1]) / PROBES


def filled(storage: Storage, dim: int, rows: int) -> _core.TableBuilder:
    builder = _core.TableBuilder(storage, 0, 8, 1.0)
    signs = np.arange(1, rows + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for begin in range(0, rows, 50_000):
        part = signs[begin : begin + 50_000]
        builder.put(part, np.ones((len(part), dim), np.float32))
    return builder


def measure_memory(*, held_out: bool) -> list[MemoryPoint]:
    points = []
    dims, counts = TABLES["held out" if held_out else "fit"]
    for storage in STORAGES:
        for dim in dims:
            for rows in counts:
                status = _core.Table(filled(storage, dim, rows)).status()
                each = round(status.base_bytes / rows, 2)
                points.append(MemoryPoint(dim=dim, storage=storage, rows=rows, bytes_per_row=each, held_out=held_out))
    return points


def measure_epochs(rows: int = 100_000, changed: int = 20_000) -> list[EpochPoint]:
    points = []
    for storage in STORAGES:
        for dim in (16, 32, 64):
            table, rng = _core.Table(filled(storage, dim, rows)), np.random.default_rng(0)
            signs = np.arange(1, rows + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            for epoch in range(1, 6):
                layer = _core.Layer(storage)
                layer.put(rng.choice(signs, changed, replace=False), np.full((changed, dim), float(epoch), np.float32))
                table.begin_epoch(layer, epoch, epoch - 1)
                assert table.wait_folded(60)
            status = table.status()
            each = round(status.retained_bytes / changed / status.retained_epochs, 2)
            points.append(EpochPoint(dim=dim, storage=storage, bytes_per_changed_row=each, held_out=dim == 32))
    return points


def measure(seconds: float, machine: str, say: Callable[[str], None]) -> Points:
    lookups: list[LookupPoint] = []
    probes = process_bytes = None
    with tempfile.TemporaryDirectory() as directory:
        for shards in FIT:
            with sides_of(Path(directory) / str(shards), shards) as (deployment, sides):
                for held_out, kinds in ((False, FIT[shards]), (True, HELD_OUT.get(shards, []))):
                    for kind in kinds:
                        for side in sides:
                            lookups.append(side.measure(kind, shards, seconds, held_out=held_out))
                            say(repr(lookups[-1]))
                if shards == 1:
                    probes = measure_probes(deployment)
                    server = deployment.shards[0]
                    process_bytes = resident_bytes(server.process.pid) - server.status().bytes
    assert probes is not None and process_bytes is not None
    return Points(
        machine=machine,
        cores=os.cpu_count() or 1,
        date=date.today().isoformat(),
        process_bytes=process_bytes,
        probe_router_seconds=float(f"{probes[0]:.4g}"),
        probe_server_seconds=float(f"{probes[1]:.4g}"),
        memory=[*measure_memory(held_out=False), *measure_memory(held_out=True)],
        epochs=measure_epochs(),
        lookups=lookups,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", default="points.json")
    parser.add_argument("--seconds", type=float, default=0.25, help="of each round")
    parser.add_argument("--machine", default=f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}")
    options = parser.parse_args()
    keep_freed_memory()
    points = measure(options.seconds, options.machine, lambda line: print(line, flush=True))
    Path(options.output).write_bytes(msgspec.json.format(msgspec.json.encode(points), indent=1) + b"\n")
    for name, misfit in CostModel(points).misfits.items():
        print(f"{name}: {misfit}")


if __name__ == "__main__":
    main()
