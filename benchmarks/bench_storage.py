"""A checkpoint in a store beside what its library alone reads, and packets from a store until they are in answers.

usage: python benchmarks/bench_storage.py [--store seaweedfs|ceph|hdfs] [--megabytes 1000] [--dim 16] [--rounds 3]
                                          [--packets 5000] [--fresh 60] [--small-pages]

    library   the library of the store alone, streaming all files by four threads and keeping nothing
    kept      the same, but what it reads is copied into memory that the system has to give
    local     a table loaded from a copy of the checkpoint in a local directory
    store     a table loaded from the store

--small-pages: no memory comes in huge pages. Some virtual machines give free memory of that size back to their host, and wait
for it, a huge page 15 ms, when it is asked for again.

The store is on the same machine, so all figures are of both. Beside the seconds stand the seconds of the processor, of this
process and of the store: on a busy machine only these say much. Then `--packets` packets are put into the store, and a server
starts whose checkpoint has them all. `--fresh` more are written one after the other, each when the one before is in answers.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import mmap
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from persia import _core
from persia.embedding_server.loading import estimate, load_checkpoint
from persia.formats.checkpoint import open_checkpoint_at
from persia.formats.layout import PACKET_MARKER
from persia.storage import Entry, Place, Store, place_of
from persia.writers import IncrementalDumper, write_checkpoint
from tests.support.persia_packets import CONFIG, DIM
from tests.support.servers import EmbeddingServer, wait_until
from tests.support.uploads import upload

ROW_BYTES = 29  # in a file, beside the values
FILES = 36
WORKERS = 4
START = 1_700_000_000
START_SECONDS = 600.0
_PR_SET_THP_DISABLE = 41


@contextlib.contextmanager
def running(name: str, directory: Path) -> Iterator[tuple[str, Callable[[], list[int]]]]:
    """The URL of an empty directory of the store, and what tells its processes."""
    if name == "hdfs":
        from tests.support.hadoops import Hadoop

        hadoop = Hadoop(directory)
        hadoop.start()
        try:
            yield hadoop.url("bench"), lambda: [process.pid for process in hadoop._processes]
        finally:
            hadoop.stop()
        return
    from tests.support.s3_servers import running_s3_server

    os.environ["PERSIA_S3"] = name
    with running_s3_server(directory / "s3") as server:
        processes: list[Any] = getattr(server, "_processes", None) or [server.process]  # type: ignore[attr-defined]
        yield server.url("bench"), lambda: [process.pid for process in processes]


def processor_seconds(pids: list[int]) -> float:
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def blocks(rows: int, dim: int) -> Iterator[tuple[Any, Any]]:
    generator = np.random.default_rng(0)
    for begin in range(0, rows, 500_000):
        count = min(500_000, rows - begin)
        yield generator.integers(1, 1 << 63, count, np.uint64), generator.random((count, dim), np.float32)


def each_file(entries: list[Entry], read: Callable[[Entry], Any]) -> list[Any]:
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(read, entries))


def stream(store: Store, entry: Entry) -> int:
    return sum(len(piece) for piece in store.read(entry))


def keep(store: Store, entry: Entry) -> mmap.mmap:
    memory, at = mmap.mmap(-1, entry.size), 0
    for piece in store.read(entry):
        memory[at : at + len(piece)] = bytes(piece)
        at += len(piece)
    return memory


def load(place: Place | Path, buffer: Path) -> int:
    checkpoint, builder = open_checkpoint_at(place, buffer, None, 0, 1), _core.TableBuilder()
    builder.reserve(round(estimate(checkpoint, "f32", 0, 1).rows * 0.98))
    return load_checkpoint(checkpoint, builder, 0, 1, WORKERS)


def bench_loading(url: str, pids: Callable[[], list[int]], directory: Path, megabytes: int, dim: int, rounds: int) -> None:
    rows = megabytes * 1_000_000 // (ROW_BYTES + 4 * dim)
    write_checkpoint(directory / "checkpoint", blocks(rows, dim), shards=1, files_per_shard=FILES)
    place = place_of(f"{url}/checkpoint")
    store = place.open()
    upload(store, directory / "checkpoint")
    entries = [entry for entry in store.list_files() if entry.name.endswith(".emb")]
    size = sum(entry.size for entry in entries) / 1e6
    print(f"{size:.0f} MB in {len(entries)} files; load of the machine {os.getloadavg()[0]:.0f}")
    ways: dict[str, Callable[[], Any]] = {
        "library": lambda: each_file(entries, lambda entry: stream(store, entry)),
        "kept": lambda: each_file(entries, lambda entry: keep(store, entry)),
        "local": lambda: load(directory / "checkpoint", directory),
        "store": lambda: load(place, directory / "buffer"),
    }
    took: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began, mine, its = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF), processor_seconds(pids())
            way()
            now = resource.getrusage(resource.RUSAGE_SELF)
            own = now.ru_utime + now.ru_stime - mine.ru_utime - mine.ru_stime
            took[name].append((time.monotonic() - began, own, processor_seconds(pids()) - its))
    for name, rounds_of_it in took.items():
        wall, own, its = (statistics.median(column) for column in zip(*rounds_of_it, strict=True))
        print(f"{name:>8}: {size / wall:6.0f} MB/s, {wall:5.2f} s; of the processor {own:.2f} s, and {its:.2f} s of the store")


def put_packets(store: Store, directory: Path, count: int) -> None:
    """As Persia's trainers leave them, without a manifest."""
    _core.write_inc(
        directory / "0_0.inc", [(np.arange(1, 4, dtype=np.uint64), np.ones((3, DIM), np.float32))], unix_seconds=START
    )
    data = (directory / "0_0.inc").read_bytes()

    def put(number: int) -> None:
        name = f"s0/inc_{datetime.fromtimestamp(START + number):%Y%m%d%H%M%S}"
        store.put(f"{name}/0_0.inc", data)
        store.put(f"{name}/{PACKET_MARKER}", b"")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(count)))


def bench_packets(url: str, directory: Path, count: int, fresh: int) -> None:
    packets, signs = f"{url}/packets", np.arange(1, 4, dtype=np.uint64)
    put_packets(place_of(packets).open(), directory, count)
    moment = datetime.fromtimestamp(START + count + 1)
    write_checkpoint(f"{url}/small", [(signs, np.ones((3, DIM), np.float32))], shards=1, datetime=moment)
    arguments, settings = ["--metrics-port", "0"], {"local_buffer_dir": str(directory / "buffer")}
    began = time.monotonic()
    with (
        EmbeddingServer(
            directory, CONFIG, checkpoint=f"{url}/small", incremental_dir=packets, settings=settings, arguments=arguments
        ) as server,
        IncrementalDumper(packets, shard_index=0) as dumper,
    ):
        wait_until(lambda: server.status().ready, "the server is ready", START_SECONDS)
        print(f"a start with {count} packets: {time.monotonic() - began:.1f} s; load {os.getloadavg()[0]:.0f}")
        seen = []
        for value in range(2, fresh + 2):
            dumper.commit(signs, np.full((3, DIM), value, np.float32))
            dumper.flush()
            written = time.monotonic()
            wait_until(lambda: server.rows(signs, DIM)[0][0, 0] == value, "the packet is served")  # noqa: B023
            seen.append(time.monotonic() - written)
        asked = {
            verb: int(float(number))
            for verb, number in server.metrics(r'persia_storage_requests_total\{.*verb="(\w+)"\} (\S+)')
        }
    p50, p99 = np.percentile(seen, [50, 99])
    print(f"{fresh} more are in answers after {p50:.2f} s (p50), {p99:.2f} s (p99); requests of the server: {asked}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", choices=["seaweedfs", "ceph", "hdfs"], default="seaweedfs")
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--packets", type=int, default=5000)
    parser.add_argument("--fresh", type=int, default=60)
    parser.add_argument("--small-pages", action="store_true")
    options = parser.parse_args()
    if options.small_pages:
        ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
    with (
        tempfile.TemporaryDirectory(prefix="bench-storage-") as directory,
        running(options.store, Path(directory)) as (url, pids),
    ):
        if options.megabytes:
            bench_loading(url, pids, Path(directory), options.megabytes, options.dim, options.rounds)
        if options.packets:
            bench_packets(url, Path(directory), options.packets, options.fresh)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
