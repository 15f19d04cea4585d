"""What the watch for drift costs a request: one handler, whose watch is switched on and off by turns.

usage: PYTHONPATH=. python benchmarks/bench_drift.py [--rows 200000] [--turns 60] [--seconds 0.5]

Two shards with 26 features of dim 16; batches of 1x1, 128x1 and 128x16 (samples x ids of each feature) with 13 dense numbers
go through PersiaHandler.handle, one after the other, without TorchServe around it, so that a request is as short as can be.
Turns are short and alternate, so that both have the same share of whatever else the machine does. Figures, as medians over
pairs of turns: the processor time of a request with the watch's thread included, the requests per second and the 99th
percentile, each beside the turn without; and how much of what came was sketched. `all` may take a whole core. Then the same
through TorchServe, as a caller sees it: the median time of a request, and the processor time of the worker.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

from persia.batch import IDTypeFeature, NonIDTypeFeature, PersiaBatch
from persia.client.predict import Client
from persia.config import load_embedding_config
from persia.drift.budget import Budget
from persia.drift.recorder import Recorder, Windows
from persia.drift.state import StateDirectory, windows_of
from persia.drift.watch import DriftWatch
from persia.drift.window import Window
from persia.handlers.persia_handler import PersiaHandler
from persia.writers import write_checkpoint
from tests.support.servers import EmbeddingServer
from tests.support.torchserves import PERSIA_HANDLER, TorchServeRun, make_archive

FEATURES, DIM, DENSE, SHARDS, BATCHES = 26, 16, 13, 2, 50
SHAPES = ((1, 1), (128, 1), (128, 16))
SHARES = {"1 %": 0.01, "all": 1.0}


class Dense(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(DENSE + FEATURES * DIM, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))

    def forward(self, dense: list[torch.Tensor], embeddings: list[torch.Tensor]) -> torch.Tensor:
        inputs = torch.cat([dense[0], torch.cat(embeddings, 1).float()], 1)
        return torch.sigmoid(self.layers(inputs)).squeeze(1)


class Context:
    """What TorchServe hands to a handler, as far as ours asks for it."""

    def __init__(self, directory: Path, persia: dict[str, Any]) -> None:
        self.manifest = {"model": {"modelName": "bench", "modelVersion": "1", "serializedFile": "model.pt"}}
        self.system_properties = {"model_dir": str(directory), "gpu_id": None}
        self.model_yaml_config = {"persia": {**persia, "log_level": "ERROR"}}

    def get_all_request_header(self, i: int) -> dict[str, str]:
        return {}

    def get_request_id(self, i: int) -> str:
        return str(i)


def batches_of(samples: int, ids: int, rows: int) -> list[bytes]:
    generator = np.random.default_rng(1)

    def batch() -> bytes:
        draws = np.minimum(generator.zipf(1.2, (FEATURES, samples, ids)), rows - 1).astype(np.uint64)
        features = [IDTypeFeature(f"feature{i}", list(draws[i])) for i in range(FEATURES)]
        dense = generator.random((samples, DENSE), np.float32)
        return PersiaBatch(features, [NonIDTypeFeature(dense)], requires_grad=False).to_bytes()

    return [batch() for _ in range(BATCHES)]


class TurnClock:
    """It goes while the watch has its turn, so that the watch saves nothing up during the others."""

    def __init__(self) -> None:
        self._past, self._began = 0.0, 0.0

    def __call__(self) -> float:
        return self._past + (time.monotonic() - self._began if self._began else 0.0)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._began = time.monotonic()
        yield
        self._past, self._began = self(), 0.0


class Turn(NamedTuple):
    rate: float
    slow: float  # 99th percentile
    cost: float  # seconds of a processor for a request
    own: float  # of these, of the thread that answers


def turn(handler: PersiaHandler, context: Context, batches: list[bytes], seconds: float) -> Turn:
    times: list[float] = []
    spent, own, end = time.process_time(), time.thread_time(), time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        handler.handle([{"batch": batches[len(times) % BATCHES], "format": b"raw"}], context)
        times.append(time.perf_counter() - began)
    return Turn(
        len(times) / seconds,
        float(np.percentile(times, 99)),
        (time.process_time() - spent) / len(times),
        (time.thread_time() - own) / len(times),
    )


def compare(handler: PersiaHandler, context: Context, directory: Path, shape: tuple[int, int], options: Any) -> None:
    batches = batches_of(*shape, options.rows)
    turn(handler, context, batches, options.seconds)  # which fills caches
    for name, share in SHARES.items():
        state = StateDirectory(directory / f"{shape} {name}", "bench", "1")
        clock = TurnClock()
        watch = DriftWatch(Recorder(state, Windows(seconds=600)), Budget(share, clock))
        pairs = []
        for i in range(options.turns):
            pair = {}
            for watched in (True, False) if i % 2 else (False, True):
                handler.drift = watch if watched else None
                with clock.running() if watched else nullcontext():
                    pair[watched] = turn(handler, context, batches, options.seconds)
            pairs.append((pair[True], pair[False]))
        watch.close()
        ratios = [statistics.median(a / b for a, b in zip(*columns, strict=True)) for columns in _columns(pairs)]
        cost = statistics.median(without.cost for _, without in pairs) * 1e3
        whole = Window.merged(windows_of(state.read().pieces))
        sketched = f"{whole.samples} of {whole.seen} samples sketched, {whole.dropped} batches dropped"
        print(
            f"{shape[0]:3}x{shape[1]:<2} {name:4} {cost:6.3f} ms of a processor, {ratios[2]:.3f} x with it, of the thread that "
            f"answers {ratios[3]:.3f} x; requests a second {ratios[0]:.3f} x; p99 {ratios[1]:.3f} x; {sketched}",
            flush=True,
        )


def through_torchserve(directory: Path, addresses: list[str], config: Path, options: Any) -> None:
    """What a caller sees: three models, of which one is watched, asked by turns. The second one tells how far chance goes.

    The watch has a third of its usual share of a core, because its model is asked a third of the time: what it saves up during
    the others' turns makes it the usual share of its own.
    """
    store, common = directory / "store", {"addresses": addresses, "embedding_config": str(config)}
    watched = {**common, "drift_state": str(directory / "served"), "drift_share": 0.01 / 3}
    settings: dict[str, dict[str, Any]] = {"without": common, "again": common, "with": watched}
    archives = [
        make_archive(store, name, handler=PERSIA_HANDLER, model=directory / "model.pt", persia=persia)
        for name, persia in settings.items()
    ]
    with ExitStack() as stack:
        run = stack.enter_context(TorchServeRun(directory / "run", store, ["--models", ",".join(archives)])).wait_ready()
        with run.management() as management:
            workers = {model.name: model.workers[0]["pid"] for model in management.list()}
        clients = {name: stack.enter_context(run.client(name)) for name in settings}
        for samples, ids in SHAPES:
            batches = batches_of(samples, ids, options.rows)
            for client in clients.values():
                served(client, workers["with"], batches, 2.0)  # which warms up, and uses what the budget had saved up
            rounds = []
            for _ in range(options.turns):
                order = random.sample([*settings], len(settings))
                rounds.append({name: served(clients[name], workers[name], batches, options.seconds) for name in order})
            show_served(f"{samples:3}x{ids:<2}", rounds)


class Served(NamedTuple):
    requests: int
    median: float  # seconds of a request, as its caller sees it
    own: float  # seconds of a processor, of the worker's thread that answers
    spent: float  # and of all its threads


def served(client: Client, worker: int, batches: list[bytes], seconds: float) -> Served:
    times: list[float] = []
    own, spent, end = *cpu_seconds(worker), time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        client.predict(batches[len(times) % BATCHES])
        times.append(time.perf_counter() - began)
    own_after, spent_after = cpu_seconds(worker)
    return Served(len(times), statistics.median(times), own_after - own, spent_after - spent)


def cpu_seconds(process: int) -> tuple[float, float]:
    """Of its first thread, and of all."""
    threads = Path(f"/proc/{process}/task").glob("*/schedstat")
    spent = {path.parent.name: int(path.read_text().split()[0]) / 1e9 for path in threads}
    return spent[str(process)], sum(spent.values())


def show_served(shape: str, rounds: list[dict[str, Served]]) -> None:
    base = statistics.median(each["without"].median for each in rounds) * 1e3
    print(f"{shape} through TorchServe: median of a request {base:.3f} ms without the watch")
    for name, what in {"without": "without", "again": "without, again", "with": "with it"}.items():
        ratio = statistics.median(each[name].median / each["without"].median for each in rounds)
        requests = sum(each[name].requests for each in rounds)
        own, spent = (sum(getattr(each[name], field) for each in rounds) / requests * 1e3 for field in ("own", "spent"))
        print(
            f"       {what:14} {ratio:.3f} x; of a processor {own:.4f} ms in the thread that answers, {spent:.4f} ms in all of "
            f"the worker ({spent / base:.1%} of that median)",
            flush=True,
        )


def _columns(pairs: list[tuple[Turn, Turn]]) -> list[tuple[list[float], list[float]]]:
    """For each figure those of the turns with and without the watch."""
    return [([one[i] for one, _ in pairs], [other[i] for _, other in pairs]) for i in range(len(Turn._fields))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=0.5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        config = directory / "embedding_config.yml"
        config.write_text(
            yaml.safe_dump({"slots_config": {f"feature{i}": {"dim": DIM} for i in range(FEATURES)}}, sort_keys=False)
        )
        values = np.random.default_rng(1).random((options.rows, DIM), np.float32)
        slots = load_embedding_config(config).slots.values()
        blocks = [(np.arange(options.rows, dtype=np.uint64) + np.uint64(slot.prefix), values) for slot in slots]
        write_checkpoint(directory / "checkpoint", blocks, shards=SHARDS)
        torch.jit.script(Dense().eval()).save(str(directory / "model.pt"))
        servers = [
            stack.enter_context(EmbeddingServer(directory, config, checkpoint=directory / "checkpoint", index=i, count=SHARDS))
            for i in range(SHARDS)
        ]
        addresses = [server.wait_ready().address for server in servers]
        context = Context(directory, {"addresses": addresses, "embedding_config": str(config)})
        handler = PersiaHandler()
        handler.initialize(context)
        handler.persia_context.wait_for_serving(60)
        for shape in SHAPES:
            compare(handler, context, directory, shape, options)
        handler.persia_context.close()
        through_torchserve(directory, addresses, config, options)


if __name__ == "__main__":
    main()
