"""What a new checkpoint without a restart takes: time, processor, memory, and what lookups feel of it; beside a restart.

usage: PYTHONPATH=. python benchmarks/bench_new_checkpoint.py [--rows 5000000] [--changed 0.01] [--seconds 4]

One embedding server is a real process on this machine, with its shard of one. A client asks for 256 random rows at a time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from persia import _core
from persia.batch import IDTypeFeature, PersiaBatch
from persia.config import EmbeddingConfig, SlotConfig
from persia.errors import PersiaError
from persia.formats.committing import committed_checkpoint
from persia.formats.epoch import Draft
from persia.formats.epoch_log import EpochLog
from persia.routing.lookup import RouterOptions
from persia.routing.router import Router
from persia.signs import signs_of
from persia.writers import write_checkpoint
from tests.support.servers import EmbeddingServer, free_port, wait_until

DIM, IDS, MIB = 16, 256, 1 << 20
CONFIG = EmbeddingConfig(slots_config={"a": SlotConfig(dim=DIM)})


class Lookups:
    """A thread that looks up without pause from the beginning of the block to its end."""

    def __init__(self, router: Router, rows: int) -> None:
        self._router, self._rows = router, rows
        self.took: list[float] = []
        self.failed = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Lookups:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        random = np.random.default_rng(1)
        batches = [
            _core.decode_batch(
                PersiaBatch(
                    [IDTypeFeature("a", [random.integers(0, self._rows, IDS, np.uint64)])], requires_grad=False
                ).to_bytes()
            )
            for _ in range(64)
        ]
        while not self._done.is_set():
            began = time.perf_counter()
            try:
                self._router.lookup(batches[len(self.took) % len(batches)], 60.0)
            except PersiaError:
                self.failed += 1
            self.took.append(time.perf_counter() - began)

    def __str__(self) -> str:
        p50, p99 = np.percentile(self.took, [50, 99]) * 1e3
        times = f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, longest {max(self.took):.3f} s"
        return f"{len(self.took)} lookups, {times}, {self.failed} failed"


class Watched:
    """The processor time and the memory of a process, and the most memory that was seen since reset()."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def reset(self) -> None:
        with suppress(OSError):
            Path(f"/proc/{self._pid}/clear_refs").write_text("5")

    def cpu(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kib(self, name: str) -> int:
        lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name + ":")).split()[1])


def write(directory: Path, rows: int, changed: float, value: float) -> Path:
    signs = signs_of(np.arange(rows, dtype=np.uint64), CONFIG.slots["a"])[0]
    numbers = np.tile(np.arange(DIM, dtype=np.float32), (rows, 1)) + (np.arange(rows, dtype=np.float32) % 97)[:, np.newaxis]
    numbers[np.random.default_rng(2).random(rows) < changed] += value
    write_checkpoint(directory, [(signs, numbers)], shards=1, files_per_shard=4)
    return directory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--changed", type=float, default=0.01)
    parser.add_argument("--seconds", type=float, default=4.0, help="how long lookups are measured without anything beside them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        config = directory / "embedding_config.yml"
        config.write_text(f"slots_config:\n  a: {{dim: {DIM}}}\n")
        old, new = (write(directory / which, options.rows, options.changed, value) for which, value in (("old", 0), ("new", 1)))
        (directory / "packets").mkdir()
        server = EmbeddingServer(
            directory / "server",
            config,
            checkpoint=old,
            incremental_dir=directory / "packets",
            settings={"enable_epochs": True},
            arguments=["--port", str(free_port())],
        )
        print(f"{options.rows} rows of dim {DIM}, {100 * options.changed:g} % differ, load {os.getloadavg()[0]:.1f}")
        with server:
            server.wait_ready()
            router = Router(CONFIG, [[server.address]], RouterOptions(wait_for_shard=60.0))
            wait_until(lambda: not router.missing(), "the server can be used")
            watched, log = Watched(server.process.pid), EpochLog(directory / "packets")
            with Lookups(router, options.rows) as alone:
                time.sleep(options.seconds)
            print(f"  alone: {alone}; {watched.kib('VmRSS') / 1024:.0f} MiB")
            began = time.monotonic()
            base = committed_checkpoint(new)
            print(f"  read and checked by who commits it: {time.monotonic() - began:.1f} s")
            watched.reset()
            with Lookups(router, options.rows) as beside:
                epoch = log.read() + 1
                began, cpu = time.monotonic(), watched.cpu()
                log.commit(Draft(base=base), "operator")
                wait_until(lambda: server.status().epoch >= epoch, "it is taken over")
                took, cpu = time.monotonic() - began, watched.cpu() - cpu
            print(
                f"  taken over in {took:.1f} s, {cpu:.1f} s of processor with lookups, "
                f"{watched.kib('VmHWM') / 1024:.0f} MiB at most; beside it {beside}"
            )
            began = time.monotonic()
            with Lookups(router, options.rows) as restarted:
                server.terminate()
                server.start()
                server.wait_ready()
                took = time.monotonic() - began
                time.sleep(1.0)
            print(f"  restart with the checkpoint: {took:.1f} s; {restarted}")
            router.close()


if __name__ == "__main__":
    main()
