"""An embedding server as its clients and operators meet it; beside real Persia's, if its environment is named.

usage: python benchmarks/bench_server.py --checkpoint DIR [--peer VENV] [--rounds 3] [--seconds 3]

    start      from the launch of one shard of two until it serves, and its resident memory then; the same for the peer
    lookup     a batch of 128 x 16 ids x 26 features against one shard: the call, and the core alone in a process without gRPC
    freshness  from a packet's marker to its rows in an answer, under lookups: 50 packets of 1,000 rows
    packet     the 99th percentile of lookups while a packet of a million rows lands, over that without

Lookups are made with grpcio; those of "lookup" and "packet" with the client of routers, too.

DIR is a checkpoint with two shards, dim 16, slots feature1 to feature26. Medians over the rounds; contenders take turns.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import yaml
from shard_lookups import DIM, FEATURES, ROWS, Lookups, OwnLookups

from persia import _core
from persia.v1 import embedding_pb2 as pb
from persia.v1 import embedding_pb2_grpc as pb_grpc
from persia.writers import IncrementalDumper


def write_configs(directory: Path, checkpoint: Path | None, incremental_dir: Path | None) -> tuple[Path, Path]:
    embedding, config = directory / "embedding_config.yml", directory / "global_config.yml"
    slots = {f"feature{i + 1}": {"dim": DIM} for i in range(FEATURES)}
    embedding.write_text(yaml.safe_dump({"feature_index_prefix_bit": 8, "slots_config": slots}, sort_keys=False))
    infer = {"servers": ["127.0.0.1:19801", "127.0.0.1:19802"]}
    if checkpoint:
        infer["embedding_checkpoint"] = str(checkpoint)  # type: ignore[assignment]
    server = {"capacity": 7_500_000, "num_hashmap_internal_shards": 8, "enable_incremental_update": incremental_dir is not None}
    if incremental_dir:
        server["incremental_dir"] = str(incremental_dir)  # type: ignore[assignment]
    common = {"job_type": "Infer", "infer_config": infer, "checkpointing_config": {"num_workers": 2}}
    config.write_text(yaml.safe_dump({"common_config": common, "embedding_parameter_server_config": server}))
    return embedding, config


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def launch(launcher: str, port: int, configs: tuple[Path, Path], shards: int) -> subprocess.Popen[bytes]:
    embedding, config = configs
    command = [launcher, "embedding-parameter-server", "--port", str(port), "--embedding-config", str(embedding)]
    command += ["--global-config", str(config), "--replica-index", "0", "--replica-size", str(shards)]
    environment = dict(os.environ, PERSIA_SOCKET_IFNAME="lo", LOG_LEVEL="error")
    log = (config.parent / f"{port}.log").open("wb")
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def resident(group: int) -> int:
    """Bytes of all processes of a process group."""
    listing = subprocess.run(["ps", "-eo", "pgid=,rss="], capture_output=True, text=True, check=True).stdout
    return sum(int(rss) * 1024 for pgid, rss in (line.split() for line in listing.splitlines()) if int(pgid) == group)


def wait_port(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.005)


def wait_ready(port: int) -> None:
    wait_port(port)  # gRPC itself would try again after a second
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb_grpc.EmbeddingServerStub(channel)
        while not stub.Status(pb.StatusRequest(), wait_for_ready=True).ready:
            time.sleep(0.005)


def wait_at_rest(port: int, group: int) -> float:
    """Real Persia listens while it loads, so it has loaded when it no longer uses a processor. Returns when that began."""
    wait_port(port)
    used, since = processor_ticks(group), time.perf_counter()
    while time.perf_counter() - since < 1:
        time.sleep(0.01)
        if (now := processor_ticks(group)) > used + 1:
            used, since = now, time.perf_counter()
    return since


def processor_ticks(group: int) -> int:
    """Hundredths of a second that the processes of a group have used."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group:
            total += int(fields[11]) + int(fields[12])
    return total


def time_start(launcher: str, configs: tuple[Path, Path], ours: bool) -> tuple[float, float]:
    """Seconds, and resident GiB."""
    port, began = free_port(), time.perf_counter()
    process = launch(launcher, port, configs, 2)
    try:
        if ours:
            wait_ready(port)
            ready = time.perf_counter()
        else:
            ready = wait_at_rest(port, process.pid)
        return ready - began, resident(process.pid) / 2**30
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def bench_start(launchers: dict[str, str], checkpoint: Path, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        configs = write_configs(Path(directory), checkpoint, None)
        figures: dict[str, list[tuple[float, float]]] = {}
        for _ in range(rounds):
            for name, launcher in launchers.items():
                figures.setdefault(name, []).append(time_start(launcher, configs, name == "this"))
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in figures.items()}
    for name, (seconds, memory) in medians.items():
        print(f"start     {name:>7}: {seconds:6.2f} s, {memory:5.2f} GiB resident")
    if "peer" in medians:
        ours, theirs = medians["this"], medians["peer"]
        print(f"start     peer/this {theirs[0] / ours[0]:.2f} x as fast, this/peer {ours[1] / theirs[1]:.2f} of the memory")


def core_times(checkpoint: Path, requests: list[pb.LookupRequest], count: int) -> list[float]:
    builder = _core.TableBuilder()
    for path in sorted(checkpoint.glob("s0/*.emb")):
        builder.load_emb(path)
    table = _core.Table(builder)
    times = []
    for k in range(count):
        request = requests[k % len(requests)]
        began = time.perf_counter()
        _core.answer(table.pin(), request.parts, request.signs, request.sum_counts, request.sum_samples, 1 << 24)
        times.append(time.perf_counter() - began)
    return times


def visible(lookups: Lookups, signs: np.ndarray, value: float, pause: float = 0.0) -> None:
    parts = np.array([0, 0, DIM, 1, 1, 0], np.uint32).tobytes()
    while True:
        answer = lookups.stub.Lookup(pb.LookupRequest(parts=parts, signs=signs[-1:].tobytes()))
        if np.frombuffer(answer.numbers, np.float32)[0] == value:
            return
        time.sleep(pause)


def bench_serving(launcher: str, checkpoint: Path, rounds: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as directory:
        packets = Path(directory) / "packets"
        packets.mkdir()
        port = free_port()
        process = launch(launcher, port, write_configs(Path(directory), checkpoint, packets), 1)
        try:
            wait_ready(port)
            lookups = Lookups(port)
            lookups.for_seconds(1)
            calls = lookups.for_seconds(seconds)
            core = core_times(checkpoint, lookups.requests, len(calls))
            print(f"lookup    call {1e3 * statistics.median(calls):.2f} ms, core {1e3 * statistics.median(core):.2f} ms")
            delays = freshness(lookups, packets)
            p99 = np.percentile(delays, 99)
            print(f"freshness median {np.median(delays):.3f} s, 99th percentile {p99:.3f} s, of {len(delays)}")
            own = OwnLookups(port)
            print(f"lookup    call as routers make it {1e3 * statistics.median(own.for_seconds(seconds)):.2f} ms")
            ratios: dict[str, list[float]] = {}
            for k in range(2 * rounds):
                way, caller = ("as routers make them", own) if k % 2 else ("with grpcio", lookups)
                ratios.setdefault(way, []).append(large_packet(caller, packets, seconds, k))
            for way, of_rounds in ratios.items():
                print(f"packet    99th percentile of lookups {way} {statistics.median(of_rounds):.2f} x that without")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def freshness(lookups: Lookups, packets: Path) -> list[float]:
    done, delays = threading.Event(), []
    load = threading.Thread(target=lookups.until, args=(done,))
    load.start()
    probe = Lookups(lookups.port)
    with IncrementalDumper(packets, buffer_size=1_000_000, seconds=3600) as dumper:
        signs = np.arange(1000, dtype=np.uint64) + np.uint64(1 << 56)
        for k in range(50):
            dumper.commit(signs, np.full((1000, DIM), 1000.0 + k, np.float32))
            dumper.flush()
            began = time.perf_counter()
            visible(probe, signs, 1000.0 + k)
            delays.append(time.perf_counter() - began)
    done.set()
    load.join()
    return delays


def large_packet(lookups: Lookups, packets: Path, seconds: float, k: int) -> float:
    probe = Lookups(lookups.port)
    places = np.arange(1_000_000, dtype=np.uint64)
    signs = places % np.uint64(ROWS) + ((places // np.uint64(ROWS) + np.uint64(1)) << np.uint64(56))
    done, value = threading.Event(), 5000.0 + k
    staging = packets.parent / f"staging{k}"
    with IncrementalDumper(staging, buffer_size=2_000_000, seconds=3600) as dumper:
        dumper.commit(signs, np.full((len(signs), DIM), value, np.float32))
    [packet] = (staging / "s0").glob("inc_*")

    def watch() -> None:
        visible(probe, signs, value, 0.02)  # seldom, not to be the load that is measured
        done.set()

    quiet = lookups.for_seconds(seconds)
    # Renamed into place: writing it is the trainer's work, on another machine.
    (packets / "s1").mkdir(exist_ok=True)
    watcher = threading.Thread(target=watch)
    packet.rename(packets / "s1" / packet.name)
    watcher.start()
    busy = lookups.until(done) + lookups.for_seconds(0.5)  # the fold goes on after the rows are visible
    watcher.join()
    return float(np.percentile(busy, 99) / np.percentile(quiet, 99))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--peer", type=Path, help="a virtual environment with the last release of real Persia")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    launchers = {"this": str(Path(sys.executable).parent / "persia-launcher")}
    if options.peer:
        launchers["peer"] = str(options.peer / "bin" / "persia-launcher")
    bench_start(launchers, options.checkpoint, options.rounds)
    bench_serving(launchers["this"], options.checkpoint, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
