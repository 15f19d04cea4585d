"""What a request of our handler takes in the model server beside its lookup and its model, and where that goes.

usage: PYTHONPATH=. python benchmarks/bench_worker.py [--shapes 1x1 128x1 128x16] [--callers 1 4] [--rounds 5] [--seconds 2]

A handler that measures itself is PersiaHandler in all else. The front's time of a request is that of its histogram, from the
hand-over to the worker until the answer is back. From that the time of lookups and of the model are taken off, per request:
what is left is the handler's own work, and the worker's loop around it with the way between the processes. Where requests come
together, a lookup and a run of the model count for all of them. Medians over the rounds, in microseconds.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from bench_builds import batch_of, write_model
from bench_e2e import BATCHES, PREDICTIONS, Home, ask, our_home, request_of

from persia.torchserve.schema import new_message

TIMED = """
import json
import time

from persia.handlers.persia_handler import PersiaHandler


class Timed(PersiaHandler):
    requests_at_once = 16

    def initialize(self, context):
        super().initialize(context)
        self.spent = {"lookup": 0.0, "model": 0.0, "handler": 0.0}
        self.calls = {"lookup": 0, "model": 0, "handler": 0}
        self.requests = 0
        self.model = self.timed("model", self.model)
        context = self.persia_context
        context.get_embedding_from_decoded = self.timed("lookup", context.get_embedding_from_decoded)
        self.handle_all = self.timed("handler", super().handle)

    def timed(self, name, call):
        def timed_call(*args, **kwargs):
            began = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.spent[name] += time.perf_counter() - began
                self.calls[name] += 1

        return timed_call

    def handle(self, data, context):
        if "spent" in data[0]:
            return [json.dumps([self.requests, self.spent, self.calls])] * len(data)
        self.requests += len(data)
        return self.handle_all(data, context)
"""


def figures(home: Home) -> tuple[int, dict[str, float], dict[str, int]]:
    """Of the handler: requests, and for each part the seconds and the calls."""
    with grpc.insecure_channel(home.address) as channel:
        call: Any = channel.unary_unary(PREDICTIONS)
        request = new_message("PredictionsRequest", model_name="ctr", input={"spent": b"1"}).SerializeToString()
        answer = call(request, timeout=10)
    requests, spent, calls = json.loads(bytes(new_message("PredictionResponse").FromString(answer).prediction))
    return requests, spent, calls


def seconds_at_the_front(home: Home, name: str) -> float:
    """Of all requests of the model, by the page of metrics."""
    log = home.log.with_name("state") / "model-server.log"
    (address,) = re.findall(r"metrics listens at ([\d.:]+)", log.read_text())
    page = urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read().decode()
    return sum(
        map(float, re.findall(rf'^persia_model_{name}_seconds_sum{{[^}}]*model="ctr"[^}}]*}} (\S+)', page, re.MULTILINE))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["1x1", "128x1", "128x16"], help="samples x ids per feature")
    parser.add_argument("--callers", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory(prefix="worker-") as directory:
        scratch = Path(directory)
        model = scratch / "model"
        (model / "archives").mkdir(parents=True)
        write_model(model)
        (model / "sample.bin").write_bytes(batch_of("4x1", np.random.default_rng(0)))
        handler = scratch / "timed_handler.py"
        handler.write_text(TIMED)
        home = our_home("model-server", model, scratch / "home", handler)
        try:
            print(f"{'':>20} {'caller':>8} {'front':>8} {'lookup':>8} {'model':>8} {'handler':>8} {'loop':>8} {'together':>9}")
            for shape in options.shapes:
                requests = [request_of("ctr", batch_of(shape, rng)) for _ in range(BATCHES)]
                for callers in options.callers:
                    print(row(home, f"{shape}, {callers} callers", requests, callers, options), flush=True)
        finally:
            home.stop()


def row(home: Home, title: str, requests: list[bytes], callers: int, options: argparse.Namespace) -> str:
    """Microseconds of a request: at its caller, at the front, in a lookup and in the model; and what is left of them."""
    rounds: dict[str, list[float]] = defaultdict(list)
    ask(home, requests, callers, 1.0)  # so that shapes are known, and the model is warm
    for _ in range(options.rounds):
        (count, spent, calls), front = figures(home), seconds_at_the_front(home, "worker")
        rate = ask(home, requests, callers, options.seconds)
        (count_after, spent_after, calls_after), front_after = figures(home), seconds_at_the_front(home, "worker")
        asked = count_after - count
        of_one = {part: 1e6 * (spent_after[part] - spent[part]) / asked for part in spent}
        together = asked / (calls_after["handler"] - calls["handler"])
        worker = 1e6 * (front_after - front) / asked / together  # a worker's time counts once for each request of a batch
        rounds["caller"].append(1e3 * rate.median_ms)
        rounds["front"].append(worker)
        rounds["lookup"].append(of_one["lookup"])
        rounds["model"].append(of_one["model"])
        rounds["handler"].append(of_one["handler"] - of_one["lookup"] - of_one["model"])
        rounds["loop"].append(worker - of_one["handler"])
        rounds["together"].append(together)
    medians = {part: statistics.median(values) for part, values in rounds.items()}
    together = medians.pop("together")
    return f"{title:>20} " + " ".join(f"{value:8,.0f}" for value in medians.values()) + f" {together:9.1f}"


if __name__ == "__main__":
    main()
