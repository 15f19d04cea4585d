"""From the start of a server to its first answer: TorchServe and the model server, with the same archive, in turns.

usage: PYTHONPATH=. python benchmarks/bench_start.py [--rounds 5]

Two archives: a handler that does nothing, and a scripted model with TorchServe's BaseHandler. Both servers get the same
config.properties, load the archive at the start, and have one worker. Both take requests before the worker is ready, and answer
them then, so the clock stops at the first answer of the model.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from persia.torchserve.archive.writing import write_archive
from tests.support.model_servers import ModelServerRun, ask
from tests.support.plain_torchserves import PlainTorchServe
from tests.support.servers import wait_until
from tests.support.tensor_models import save_scripted

HANDLERS = {
    "a handler that does nothing": """
def handle(data, context):
    return None if data is None else ["1"] * len(data)
""",
    "a scripted model, BaseHandler": """
import torch
from ts.torch_handler.base_handler import BaseHandler


class Scores(BaseHandler):
    def preprocess(self, data):
        return torch.ones(len(data), 8)

    def postprocess(self, data):
        return data[:, 0].tolist()
""",
}
CONFIG = "minWorkers: 1\nmaxWorkers: 1\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="start-") as name:
        for title, handler in HANDLERS.items():
            took = measure(Path(name) / title.replace(" ", "-"), handler, rounds)
            theirs, ours = (statistics.median(seconds) for seconds in took.values())
            spread = ", ".join(f"{home} {min(seconds):.2f} to {max(seconds):.2f}" for home, seconds in took.items())
            print(
                f"{title}: TorchServe {theirs:.2f} s, model server {ours:.2f} s, {ours / theirs:.2f} x ({spread})", flush=True
            )


def measure(directory: Path, handler: str, rounds: int) -> dict[str, list[float]]:
    """Seconds by home."""
    directory.mkdir()
    (directory / "handler.py").write_text(handler)
    save_scripted(directory / "model.pt", torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU()))
    store, archive = directory / "store", "model-1.0.mar"
    store.mkdir()
    write_archive(store / archive, "model", "1.0", directory / "model.pt", directory / "handler.py", CONFIG)
    took: dict[str, list[float]] = {"TorchServe": [], "model server": []}
    starts: list[tuple[str, Callable[[Path, Path, str], float]]] = [("TorchServe", torchserve), ("model server", model_server)]
    for turn in range(rounds):
        for home, start in starts if turn % 2 else starts[::-1]:
            took[home].append(start(directory / f"{home} {turn}".replace(" ", "-"), store, archive))
    return took


def torchserve(directory: Path, store: Path, archive: str) -> float:
    began = time.perf_counter()
    with PlainTorchServe(directory, store, load_models=archive, default_workers_per_model=1) as server:
        return seconds_until_answered(f"http://{server.rest}/predictions/model", began)


def model_server(directory: Path, store: Path, archive: str) -> float:
    began = time.perf_counter()
    with ModelServerRun(directory, store, load_models=archive, default_workers_per_model=1) as server:
        return seconds_until_answered(server.inference("predictions/model"), began)


def seconds_until_answered(url: str, began: float) -> float:
    def answered() -> bool:
        try:
            return ask(url, b"x").status == 200
        except OSError:  # it does not listen yet
            return False

    wait_until(answered, "the model answers")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
