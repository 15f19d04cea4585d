"""The model server beside other servers of models: mosec, LitServe, and grpcio's server with the model in its own process.

usage: make peers; PYTHONPATH=.:benchmarks python benchmarks/bench_peers.py [--rounds 3] [--seconds 2] [--callers 1 4]

All of them do the same with the same bytes (peers/answering.py): nothing, or the scores of a scripted model for 128 samples of
64 numbers. Each has one process that answers, and runs as its documents advise for few callers: without batches. Clients are
h2load's, one request at a time each, over what each server speaks: HTTP/1.1 or gRPC. LitServe reads JSON only, so that it gets
the bytes as base64. The servers take turns, and those that are not asked stand still. Figures: medians of requests a second.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import torch
from bench_e2e import PREDICTIONS, Home, listen

from persia.system.address import free_ports
from persia.torch_deprecations import torch_deprecations_ignored
from persia.torchserve.archive.writing import write_archive
from persia.torchserve.schema import message_class, new_message

PEERS = Path(__file__).parent / "peers"
PYTHON = Path(__file__).parents[1] / "build" / "peers" / "bin" / "python"
LAUNCHER = Path(sys.executable).with_name("persia-launcher")
WIDTH, SAMPLES = 64, 128
BODIES = {"nothing, 256 B": bytes(256), "nothing, 32 KiB": bytes(4 * WIDTH * SAMPLES)}
MODEL = "scores, 32 KiB"
CONFIG = "minWorkers: 1\nmaxWorkers: 1\n"
PROPERTIES = """\
inference_address=http://127.0.0.1:{0}
management_address=http://127.0.0.1:{1}
grpc_inference_port={2}
grpc_management_port={3}
enable_metrics_api=false
disable_token_authorization=true
load_models=all
"""


class Asked(NamedTuple):
    """A server, and how a request goes to it."""

    title: str
    home: Home
    address: str
    path: str
    wire: str  # rest, json, grpc

    def wrapped(self, body: bytes) -> bytes:
        """What is sent for a body."""
        if self.wire == "rest":
            return body
        if self.wire == "json":
            return json.dumps({"data": base64.b64encode(body).decode()}).encode()
        message = bytes(new_message("PredictionsRequest", model_name="model", input={"data": body}).SerializeToString())
        return b"\0" + len(message).to_bytes(4, "big") + message

    def once(self, body: bytes) -> bytes:
        """The answer."""
        sent = self.wrapped(body)
        if self.wire == "grpc":
            with grpc.insecure_channel(self.address) as channel:
                call: Any = channel.unary_unary(PREDICTIONS)
                return bytes(message_class("PredictionResponse").FromString(call(sent[5:], timeout=60)).prediction)
        kind = {"Content-Type": "application/json" if self.wire == "json" else "application/octet-stream"}
        with urllib.request.urlopen(urllib.request.Request(f"http://{self.address}{self.path}", sent, kind)) as answer:
            return bytes(answer.read())

    def rate(self, body: bytes, callers: int, seconds: float, scratch: Path) -> float:
        """Requests a second, by h2load."""
        file = scratch / "body"
        file.write_bytes(self.wrapped(body))
        command = ["h2load", "-D", f"{1e3 * seconds:.0f}ms", "-c", str(callers), "-m", "1", "-d", str(file)]
        if self.wire == "grpc":
            command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        else:
            command += ["--h1", "-H", f"content-type: application/{'json' if self.wire == 'json' else 'octet-stream'}"]
        said = subprocess.run(
            [*command, f"http://{self.address}{self.path}"], capture_output=True, text=True, check=True
        ).stdout
        (rate,) = re.findall(r"([\d.]+) req/s", said)
        failed = re.search(r"(\d+) failed, (\d+) errored", said)
        refused = re.search(r"(\d+) 3xx, (\d+) 4xx, (\d+) 5xx", said)
        assert failed is not None and refused is not None and set(failed.groups() + refused.groups()) == {"0"}, said
        return float(rate)


def model_server(directory: Path, ports: Sequence[int]) -> list[str | Path]:
    """Its command line. ports: as PROPERTIES takes them."""
    store = directory / "store"
    store.mkdir()
    model = directory / "nothing.pt"  # an archive has one
    model.touch()
    write_archive(store / "model-1.0.mar", "model", "1.0", model, PEERS / "handler.py", CONFIG, [PEERS / "answering.py"])
    config = directory / "config.properties"
    config.write_text(PROPERTIES.format(*ports))
    return [LAUNCHER, "model-server", "--ts-config", config, "--model-store", store]


def servers(answers_with: str, directory: Path) -> list[Asked]:
    """All of them, started, and still."""
    directory.mkdir()
    environment = {"ANSWERS_WITH": answers_with}
    mosec, litserve, rpc, rest, management, inference, grpc_management = free_ports(7)

    def home(title: str, command: Sequence[str | Path], ports: Sequence[int]) -> Home:
        started = Home(title, directory / f"{title.replace(' ', '-')}.log")
        started.start(command, environment)
        started.wait(lambda: listen(ports))
        return started

    command = model_server(directory, [rest, management, inference, grpc_management])
    ours = home("model server", command, [rest, inference])
    at = ["--address", "127.0.0.1", "--port", str(mosec)]
    return [
        Asked("model server, REST", ours, f"127.0.0.1:{rest}", "/predictions/model", "rest"),
        Asked(
            "mosec",
            home("mosec", [PYTHON, PEERS / "mosec_server.py", *at], [mosec]),
            f"127.0.0.1:{mosec}",
            "/inference",
            "rest",
        ),
        Asked(
            "LitServe",
            home("LitServe", [PYTHON, PEERS / "litserve_server.py", str(litserve)], [litserve]),
            f"127.0.0.1:{litserve}",
            "/predict",
            "json",
        ),
        Asked("model server, gRPC", ours, f"127.0.0.1:{inference}", PREDICTIONS, "grpc"),
        Asked(
            "grpcio",
            home("grpcio", [sys.executable, PEERS / "grpcio_server.py", str(rpc)], [rpc]),
            f"127.0.0.1:{rpc}",
            PREDICTIONS,
            "grpc",
        ),
    ]


def measure(asked: Sequence[Asked], body: bytes, options: argparse.Namespace, scratch: Path) -> dict[tuple[str, int], float]:
    """Medians of requests a second by server and callers."""
    for one in asked:
        one.home.wait(partial(answered, one, body))
    first, *others = (one.once(body) for one in asked)
    assert all(other == first for other in others), "the servers answer different bytes"
    rates: dict[tuple[str, int], list[float]] = defaultdict(list)
    for one in asked:
        one.home.hold(True)
    for turn in range(options.rounds):
        for one in asked if turn % 2 else asked[::-1]:
            one.home.hold(False)
            for callers in options.callers:
                rates[one.title, callers].append(one.rate(body, callers, options.seconds, scratch))
            one.home.hold(True)
    for one in asked:
        one.home.hold(False)
    return {key: statistics.median(found) for key, found in rates.items()}


def answered(one: Asked, body: bytes) -> bool:
    try:
        one.once(body)
    except (OSError, grpc.RpcError):
        return False
    return True


def write_model(path: Path) -> None:
    torch.manual_seed(1)
    layers = [torch.nn.Linear(WIDTH, 256), torch.nn.ReLU(), torch.nn.Linear(256, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)]
    with torch_deprecations_ignored():
        torch.jit.script(torch.nn.Sequential(*layers, torch.nn.Sigmoid())).save(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--callers", nargs="+", type=int, default=[1, 4])
    options = parser.parse_args()
    if not PYTHON.exists():
        raise SystemExit("the other servers are not installed: make peers")
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        scratch = Path(name)
        write_model(scratch / "model.pt")
        bodies = {title: ("nothing", body) for title, body in BODIES.items()}
        rows = np.random.default_rng(1).random((SAMPLES, WIDTH), np.float32)
        bodies[MODEL] = (str(scratch / "model.pt"), rows.tobytes())
        for number, (title, (answers_with, body)) in enumerate(bodies.items()):
            asked = servers(answers_with, scratch / str(number))
            try:
                for (server, callers), rate in measure(asked, body, options, scratch).items():
                    print(f"{title:>16}, {callers} callers: {server:>20} {rate:8,.0f} a second", flush=True)
            finally:
                for one in {id(one.home): one.home for one in asked}.values():
                    one.stop()


if __name__ == "__main__":
    main()
