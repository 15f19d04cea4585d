"""Requests from end to end: Persia's handler behind TorchServe, ours there, and ours in the model server, side by side.

usage: python benchmarks/bench_e2e.py [--persia VENV] [--shapes 1x1 128x1 128x16] [--callers 1 4]
       [--rounds 3] [--seconds 3]

All serve the same checkpoint and the same scripted model, one worker each, and beside it a handler that does nothing. They take
turns in each round, and the other homes stand still meanwhile. The callers are threads with Python's grpcio over one channel;
where nghttp2's h2load is installed, the handler that does nothing is asked by it as well, which takes the Python client out of
the picture. Figures: medians over the rounds of requests a second and of the median latency, and ratios to the first home.
--persia: an environment with the last release of Persia and TorchServe, which is measured as well.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import yaml
from bench_builds import SHARDS, batch_of, write_model

from persia.system.address import free_ports
from persia.torchserve.schema import new_message

PREDICTIONS = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
START_SECONDS, STOP_SECONDS = 180.0, 60.0
BATCHES = 10
# No-op answers as many numbers as the batch has samples.
NOOP = """
from ts.torch_handler.base_handler import BaseHandler

class Noop(BaseHandler):
    def initialize(self, context):
        self.initialized = True

    def handle(self, data, context):
        return [[0.5] * (1 if len(data[0]["batch"]) < 50_000 else 128)]
"""
# As users of the last release wrote it.
PERSIA = """
import torch
from persia.ctx import InferCtx
from persia.service import get_embedding_worker_services
from ts.torch_handler.base_handler import BaseHandler

class PersiaHandler(BaseHandler):
    def initialize(self, context):
        super().initialize(context)
        torch.set_num_threads(1)
        self.persia_context = InferCtx(get_embedding_worker_services(), device_id=None)
        self.persia_context.wait_for_serving()

    def preprocess(self, data):
        batch = bytes(data[0].get("batch"))
        return self.persia_context.prepare_features(self.persia_context.get_embedding_from_bytes(batch, None))

    def inference(self, data, *args, **kwargs):
        dense, embeddings, _ = data
        with torch.no_grad():
            return self.model(dense, embeddings)

    def postprocess(self, data):
        return [torch.reshape(data, (-1,)).tolist()]
"""
PROPERTIES = """\
inference_address=http://127.0.0.1:{0}
management_address=http://127.0.0.1:{1}
metrics_address=http://127.0.0.1:{2}
grpc_inference_port={3}
grpc_management_port={4}
disable_token_authorization=true
default_workers_per_model=1
enable_model_api=true
disable_system_metrics=true
max_request_size=100000000
max_response_size=100000000
job_queue_size=1000
"""


class Rate(NamedTuple):
    per_second: float
    median_ms: float


class Home:
    """Processes that serve the models `ctr` and `noop`. They stand still unless they are asked."""

    def __init__(self, title: str, log: Path) -> None:
        self.title, self.log = title, log
        self.address = ""
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(
        self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        with self.log.open("ab") as out:
            self._processes.append(
                subprocess.Popen(
                    [*map(str, command)],
                    stdout=out,
                    stderr=out,
                    env={**os.environ, **(environment or {})},
                    cwd=cwd,
                    start_new_session=True,
                )
            )

    def wait(self, is_ready: Callable[[], bool]) -> None:
        end = time.monotonic() + START_SECONDS
        while not is_ready():
            if time.monotonic() > end or any(process.poll() is not None for process in self._processes):
                raise SystemExit(f"{self.title} is not ready:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.1)

    def hold(self, still: bool) -> None:
        """Lets all its processes stand still, or go on."""
        for process in self._processes:
            for pid in descendants(process.pid):
                os.kill(pid, signal.SIGSTOP if still else signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """Of processor time that all its processes have had."""
        ticks = 0
        for process in self._processes:
            for pid in descendants(process.pid):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])  # utime, stime
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_mib(self) -> float:
        """Of all its processes; what they share is counted once."""
        kib = 0
        for process in self._processes:
            for pid in descendants(process.pid):
                for text in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    kib += int(text.split()[1]) if text.startswith("Pss:") else 0
        return kib / 1024

    def stop(self) -> None:
        self.hold(False)
        for process in reversed(self._processes):
            os.killpg(process.pid, signal.SIGTERM)  # TorchServe's Java, too
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    children = [int(child) for task in tasks.glob("*/children") for child in task.read_text().split()] if tasks.exists() else []
    return [pid] + [one for child in children for one in descendants(child)]


def our_home(front: str, model: Path, directory: Path, handler: Path | None = None) -> Home:
    """`persia-launcher up`, with our handler, or another one as `ctr`."""
    launcher = Path(sys.executable).with_name("persia-launcher")
    directory.mkdir()
    config = {"common_config": {"infer_config": {"embedding_checkpoint": str(model / "checkpoint")}}}
    (directory / "global_config.yaml").write_text(yaml.safe_dump(config))
    slots: list[str | Path] = ["--embedding-config", model / "embedding_config.yml"]
    store = directory / "store"
    shutil.copytree(model / "archives", store)
    archive = [launcher, "archive", "--model", model / "dense.pt", "--name", "ctr", "--out", store, *slots]
    archive += ["--sample", model / "sample.bin"]
    archive += ["--handler", handler] if handler is not None else []
    subprocess.run([*map(str, archive)], check=True, stdout=subprocess.DEVNULL)
    home = Home(front, directory / "up.log")
    up: list[str | Path] = [
        launcher,
        "up",
        "--no-check",
        "--shards",
        str(SHARDS),
        "--global-config",
        directory / "global_config.yaml",
        *slots,
    ]
    up += ["--model-store", store, "--middleware-port", "0", "--state", directory / "state", "--front", front]
    if front == "model-server":
        (directory / "config.properties").write_text(PROPERTIES.format(0, 0, 0, 0, 0))
        up += ["--ts-config", directory / "config.properties"]
    else:
        up += ["--", "--port", "0", "--management-port", "0", "--no-tokens"]
    home.start(up)
    home.wait(lambda: "Ctrl-C stops all" in home.log.read_text())
    (home.address,) = re.findall(r"inference on ([^\s,]+)", home.log.read_text())
    return home


def persia_home(venv: Path, model: Path, directory: Path) -> Home:
    """The last release of Persia, with a handler as its users wrote it, behind TorchServe."""
    directory.mkdir()
    home = Home("Persia", directory / "log")
    store = directory / "store"
    shutil.copytree(model / "archives", store)
    (directory / "persia_handler.py").write_text(PERSIA)
    archiver = [venv / "bin" / "torch-model-archiver", "--model-name", "ctr", "--version", "1.0", "--export-path", store]
    archiver += ["--serialized-file", model / "dense.pt", "--handler", directory / "persia_handler.py"]
    subprocess.run([*map(str, archiver)], check=True)
    *servers, worker, http, management, metrics, inference, rpc = free_ports(SHARDS + 6)
    config = {
        "common_config": {
            "job_type": "Infer",
            "metrics_config": {"enable_metrics": False},
            "checkpointing_config": {"num_workers": 2},
            "infer_config": {
                "servers": [f"127.0.0.1:{port}" for port in servers],
                "embedding_checkpoint": str(model / "checkpoint"),
            },
        },
        "embedding_parameter_server_config": {"capacity": 10_000_000, "enable_incremental_update": False},
        "embedding_worker_config": {"forward_buffer_size": 1000},
    }
    (directory / "global_config.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    environment = {"PERSIA_SOCKET_IFNAME": "lo", "LOG_LEVEL": "error", "PATH": f"{venv / 'bin'}:{os.environ['PATH']}"}
    configs: list[str | Path] = [
        "--embedding-config",
        model / "embedding_config.yml",
        "--global-config",
        directory / "global_config.yml",
    ]
    for kind, ports in (("embedding-parameter-server", servers), ("embedding-worker", [worker])):
        for index, port in enumerate(ports):
            place = ["--port", str(port), "--replica-index", str(index), "--replica-size", str(len(ports))]
            home.start([venv / "bin" / "persia-launcher", kind, *place, *configs], environment)
        home.wait(functools.partial(listen, ports))
    (directory / "config.properties").write_text(PROPERTIES.format(http, management, metrics, inference, rpc))
    environment |= {"EMBEDDING_WORKER_SERVICE": f"127.0.0.1:{worker}", "WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}
    environment["TEMP"] = str(directory)  # where TorchServe notes that it runs
    command: list[str | Path] = [venv / "bin" / "torchserve", "--start", "--foreground", "--ncs", "--model-store", store]
    home.start([*command, "--models", "all", "--ts-config", directory / "config.properties"], environment, directory)
    home.address = f"127.0.0.1:{inference}"
    home.wait(lambda: answers(home, "ctr", batch_of("1x1", np.random.default_rng(1))))
    return home


def listen(ports: Sequence[int]) -> bool:
    """Whether somebody listens on all of them."""
    try:
        for port in ports:
            socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def answers(home: Home, name: str, batch: bytes) -> bool:
    try:
        with grpc.insecure_channel(home.address) as channel:
            call: Any = channel.unary_unary(PREDICTIONS)
            call(request_of(name, batch), timeout=5)
    except grpc.RpcError:
        return False
    return True


def request_of(name: str, batch: bytes) -> bytes:
    return bytes(new_message("PredictionsRequest", model_name=name, input={"batch": batch}).SerializeToString())


def ask(home: Home, requests: Sequence[bytes], callers: int, seconds: float) -> Rate:
    """Every caller asks again as soon as it is answered. Raises grpc.RpcError."""
    latencies: list[list[float]] = [[] for _ in range(callers)]
    errors: list[BaseException] = []
    with grpc.insecure_channel(home.address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        call: Any = channel.unary_unary(PREDICTIONS)
        began = time.perf_counter()

        def caller(number: int) -> None:
            try:
                while (now := time.perf_counter()) < began + seconds:
                    call(requests[(3 * number + len(latencies[number])) % len(requests)], timeout=60)
                    latencies[number].append(time.perf_counter() - now)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=caller, args=(number,)) for number in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - began
    if errors:
        raise errors[0]
    together = [one for part in latencies for one in part]
    return Rate(len(together) / took, 1e3 * statistics.median(together))


def ask_natively(home: Home, request: bytes, callers: int, seconds: float, scratch: Path) -> Rate:
    """By h2load, one call at a time on each of so many connections."""
    body = scratch / "request.bin"
    body.write_bytes(b"\0" + len(request).to_bytes(4, "big") + request)
    command = ["h2load", "-D", f"{1e3 * seconds:.0f}ms", "-c", str(callers), "-m", "1", "-d", str(body)]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{home.address}{PREDICTIONS}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (rate,) = re.findall(r"([\d.]+) req/s", said)
    failed = re.search(r"(\d+) failed, (\d+) errored", said)
    assert failed is not None and failed.groups() == ("0", "0"), said
    return Rate(float(rate), 1e3 * callers / float(rate))


# (What is asked, shape, callers): home: a rate for each round.
Found = dict[tuple[str, str, int], dict[str, list[Rate]]]


def measure(homes: Sequence[Home], options: argparse.Namespace, scratch: Path) -> Found:
    rng = np.random.default_rng(1)
    found: Found = defaultdict(lambda: defaultdict(list))
    cases = [(name, shape, callers) for name in ("noop", "ctr") for shape in options.shapes for callers in options.callers]
    batches = {shape: [batch_of(shape, rng) for _ in range(BATCHES)] for shape in options.shapes}
    for turn in range(options.rounds + 1):  # the first one warms the JVM
        for home in homes if turn % 2 else homes[::-1]:
            home.hold(False)
            for name, shape, callers in cases:
                requests = [request_of(name, batch) for batch in batches[shape]]
                rate = ask(home, requests, callers, options.seconds)
                if turn:
                    found[name, shape, callers][home.title].append(rate)
                if name == "noop" and turn and shutil.which("h2load"):
                    rate = ask_natively(home, requests[0], callers, options.seconds, scratch)
                    found["noop, h2load", shape, callers][home.title].append(rate)
            home.hold(True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--persia", type=Path)
    parser.add_argument("--shapes", nargs="+", default=["1x1", "128x1", "128x16"], help="samples x ids per feature")
    parser.add_argument("--callers", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="e2e-") as directory:
        scratch = Path(directory)
        model = scratch / "model"
        model.mkdir()
        write_model(model)
        (model / "sample.bin").write_bytes(batch_of("4x1", np.random.default_rng(0)))
        (model / "noop_handler.py").write_text(NOOP)
        archiver = [Path(sys.executable).with_name("torch-model-archiver"), "--model-name", "noop", "--version", "1.0"]
        archiver += ["--handler", model / "noop_handler.py", "--export-path", model / "archives"]
        (model / "archives").mkdir()
        subprocess.run([*map(str, archiver)], check=True)
        homes: list[Home] = []
        try:
            if options.persia is not None:
                homes.append(persia_home(options.persia, model, scratch / "persia"))
                homes[-1].hold(True)
            for front in ("torchserve", "model-server"):
                homes.append(our_home(front, model, scratch / front))
                homes[-1].hold(True)
            for (what, shape, callers), rates in measure(homes, options, scratch).items():
                print(line(f"{what} {shape}, {callers} callers", rates), flush=True)
        finally:
            for home in homes:
                home.stop()


def line(case: str, rates: Mapping[str, Sequence[Rate]]) -> str:
    medians = {title: [statistics.median(column) for column in zip(*found, strict=True)] for title, found in rates.items()}
    first = next(iter(medians.values()))[0]
    parts = [f"{title} {rate:,.0f}/s ({rate / first:.2f} x, {ms:.2f} ms)" for title, (rate, ms) in medians.items()]
    return f"{case:>30}: {', '.join(parts)}"


if __name__ == "__main__":
    main()
