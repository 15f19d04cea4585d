"""What a change costs a request behind TorchServe: two builds of this project side by side, asked turn by turn.

usage: python benchmarks/bench_builds.py [--before VENV] [--after VENV] [--shape 1x1 128x1] [--turns 40] [--callers 4]
       [--handler FILE]

Both builds serve the same checkpoint, the same dense model and the same batches at the same time. Each turn asks one build for
some seconds and then the other one, and the next turn begins with the other build, so whatever else the machine does hits both.
The figure is the median over the turns of (requests a second after) / (before). Each build packs the model with its own
`archive --sample`: a build that knows signatures checks every request against one. Without --before the current build is asked
against itself, which shows how far the figures scatter.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
import yaml

from persia.batch import IDTypeFeature, NonIDTypeFeature, PersiaBatch
from persia.client.predict import Client
from persia.config import load_embedding_config
from persia.signs import signs_of
from persia.system.address import free_ports
from persia.writers import write_checkpoint

FEATURES, DIM, DENSE, ROWS, SHARDS = 26, 16, 13, 100_000, 2
BATCHES = 10
START_SECONDS = 180.0


class Network(torch.nn.Module):
    """The dense half of a click model of ordinary size."""

    def __init__(self) -> None:
        super().__init__()
        width = DENSE + FEATURES * DIM
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(width, 256), torch.nn.ReLU(), torch.nn.Linear(256, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)
        )

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        return torch.sigmoid(self.layers(torch.cat([dense[0]] + [one.float() for one in embeddings], 1)))


def write_model(directory: Path) -> None:
    """What both builds serve: an embedding config, a checkpoint and a scripted dense model."""
    names = [f"feature{i + 1}" for i in range(FEATURES)]
    (directory / "embedding_config.yml").write_text(
        yaml.safe_dump({"slots_config": {name: {"dim": DIM} for name in names}}, sort_keys=False)
    )
    config = load_embedding_config(directory / "embedding_config.yml")
    rng = np.random.default_rng(0)
    ids = np.arange(ROWS, dtype=np.uint64)
    blocks = ((signs_of(ids, slot)[0], rng.normal(0, 0.1, (ROWS, DIM)).astype(np.float32)) for slot in config.slots.values())
    write_checkpoint(directory / "checkpoint", blocks, shards=SHARDS)
    torch.manual_seed(0)
    torch.jit.script(Network().eval()).save(str(directory / "dense.pt"))


def batch_of(shape: str, rng: np.random.Generator) -> bytes:
    samples, ids = map(int, shape.split("x"))
    features = [IDTypeFeature(f"feature{i + 1}", rng.integers(0, ROWS, (samples, ids), np.uint64)) for i in range(FEATURES)]
    dense = [NonIDTypeFeature(rng.random((samples, DENSE), np.float32))]
    return PersiaBatch(features, dense, requires_grad=False).to_bytes()


class Build:
    """One build that serves: `persia-launcher up` of its environment."""

    def __init__(self, venv: Path, model: Path, directory: Path, handler: Path | None) -> None:
        launcher = str(venv / "bin" / "persia-launcher")
        directory.mkdir()
        servers = [f"127.0.0.1:{port}" for port in free_ports(SHARDS)]
        config = {"common_config": {"infer_config": {"servers": servers, "embedding_checkpoint": str(model / "checkpoint")}}}
        (directory / "global_config.yaml").write_text(yaml.safe_dump(config))
        slots = ["--embedding-config", str(model / "embedding_config.yml")]
        archive = [launcher, "archive", "--model", str(model / "dense.pt"), "--name", "ctr", "--out", str(directory / "store")]
        archive += ["--sample", str(model / "sample.bin"), *slots]
        archive += ["--handler", str(handler)] if handler is not None else []
        subprocess.run(archive, check=True, stdout=subprocess.DEVNULL)
        up = [launcher, "up", "--global-config", str(directory / "global_config.yaml"), *slots]
        up += ["--model-store", str(directory / "store"), "--middleware-port", "0", "--state", str(directory / "state")]
        self._log = directory / "up.log"
        with self._log.open("wb") as log:
            command = [*up, "--", "--port", "0", "--management-port", "0"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self.address = self._wait_for_address()
        self.client = Client("ctr", self.address, token_file=directory / "state" / "ts" / "key_file.json")

    def _wait_for_address(self) -> str:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            if found := re.search(r"inference on ([^\s,]+)", self._log.read_text()):
                return found[1]
            time.sleep(0.1)
        raise SystemExit(f"it is not ready:\n{self._log.read_text()}")

    def rate(self, batches: list[bytes], seconds: float, callers: int) -> float:
        """Requests a second that so many callers get."""
        end, done = time.perf_counter() + seconds, [0] * callers
        errors: list[BaseException] = []

        def call(number: int) -> None:
            try:
                while time.perf_counter() < end:
                    self.client.predict(batches[done[number] % len(batches)])
                    done[number] += 1
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return sum(done) / (time.perf_counter() - began)

    def stop(self) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--before", type=Path, default=Path(sys.prefix), help="the virtual environment of the earlier build")
    parser.add_argument("--after", type=Path, default=Path(sys.prefix), help="that of the later build; else the current one")
    parser.add_argument("--shape", nargs="*", default=["1x1", "128x1"], help="samples x ids per feature")
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each build in a turn")
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--handler", type=Path, help="to be asked instead of PersiaHandler")
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch, "model")
        model.mkdir()
        write_model(model)
        (model / "sample.bin").write_bytes(batch_of("4x1", rng))
        builds: list[Build] = []
        try:
            for name in ("before", "after"):
                builds.append(Build(getattr(options, name), model, Path(scratch, name), options.handler))
            print(f"{'shape':>7} {'turns':>6} {'before/s':>9} {'after/s':>9} {'after/before':>13} {'quartiles':>15}")
            for shape in options.shape:
                batches = [batch_of(shape, rng) for _ in range(BATCHES)]
                for build in builds:
                    build.rate(batches, 5.0, options.callers)  # the JVM compiles what runs often
                print(line(shape, *turns(builds, batches, options)), flush=True)
        finally:
            for build in builds:
                build.stop()


def turns(builds: list[Build], batches: list[bytes], options: argparse.Namespace) -> tuple[list[float], list[float]]:
    """The rates of each turn, before and after."""
    rates: tuple[list[float], list[float]] = ([], [])
    for turn in range(options.turns):
        for which in (0, 1) if turn % 2 else (1, 0):
            rates[which].append(builds[which].rate(batches, options.seconds, options.callers))
    return rates


def line(shape: str, before: list[float], after: list[float]) -> str:
    ratios = [a / b for a, b in zip(after, before, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    figures = f"{statistics.median(before):>9.1f} {statistics.median(after):>9.1f} {middle:>13.3f}"
    return f"{shape:>7} {len(ratios):>6} {figures} {f'{low:.3f} to {high:.3f}':>15}"


if __name__ == "__main__":
    main()
