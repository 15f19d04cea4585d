"""What requests of our handler gain in the model server by what they share: nothing, a lookup, a run of the model.

usage: python benchmarks/bench_merging.py [--shapes 1x1 128x1 128x16] [--callers 1 4 16] [--rounds 7] [--seconds 1]

One server has the same model three times, with `merge: false`, `lookup` and `model`, one worker each. They are asked in turns
by threads with Python's grpcio over one channel. Figures: medians over the rounds of requests a second, of the median latency,
and of the processor time that all processes of the server take for a request; and the medians of the ratios of requests to
those of `false` in the same round, so that other work of the machine hits both.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from bench_builds import batch_of, write_model
from bench_e2e import BATCHES, Home, Rate, ask, our_home, request_of

SETTINGS = ("false", "lookup", "model")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["1x1", "128x1", "128x16"], help="samples x ids per feature")
    parser.add_argument("--callers", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory(prefix="merging-") as directory:
        model = Path(directory, "model")
        (model / "archives").mkdir(parents=True)
        write_model(model)
        (model / "sample.bin").write_bytes(batch_of("4x1", np.random.default_rng(0)))
        for merge in SETTINGS:
            pack(model, merge)
        home = our_home("model-server", model, Path(directory, "home"))
        try:
            for shape in options.shapes:
                batches = [batch_of(shape, rng) for _ in range(BATCHES)]
                for callers in options.callers:
                    print(line(f"{shape}, {callers} callers", measured(home, batches, callers, options)), flush=True)
        finally:
            home.stop()


def pack(model: Path, merge: str) -> None:
    """The archive `ctr-MERGE`."""
    config = model / f"{merge}.yml"
    config.write_text(f"persia: {{merge: {merge}}}\n")
    launcher = Path(sys.executable).with_name("persia-launcher")
    command: list[str | Path] = [launcher, "archive", "--model", model / "dense.pt", "--name", f"ctr-{merge}"]
    command += ["--out", model / "archives", "--embedding-config", model / "embedding_config.yml"]
    command += ["--sample", model / "sample.bin", "--config", config]
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)


def measured(
    home: Home, batches: list[bytes], callers: int, options: argparse.Namespace
) -> dict[str, list[tuple[Rate, float]]]:
    """For each round a rate, and microseconds of processor time for a request."""
    found: dict[str, list[tuple[Rate, float]]] = defaultdict(list)
    for turn in range(options.rounds + 1):  # the first one is for the model, to be warm
        for merge in SETTINGS if turn % 2 else SETTINGS[::-1]:
            requests = [request_of(f"ctr-{merge}", batch) for batch in batches]
            before, began = home.cpu_seconds(), time.perf_counter()
            rate = ask(home, requests, callers, options.seconds)
            asked = rate.per_second * (time.perf_counter() - began)
            if turn:
                found[merge].append((rate, 1e6 * (home.cpu_seconds() - before) / asked))
    return found


def line(case: str, found: dict[str, list[tuple[Rate, float]]]) -> str:
    parts = []
    for merge in SETTINGS:
        rates = [rate for rate, _ in found[merge]]
        per_second, milliseconds = (statistics.median(column) for column in zip(*rates, strict=True))
        of_rounds = zip(rates, (rate for rate, _ in found[SETTINGS[0]]), strict=True)
        ratio = statistics.median(one.per_second / other.per_second for one, other in of_rounds)
        cpu = statistics.median(microseconds for _, microseconds in found[merge])
        parts.append(f"{merge} {per_second:,.0f}/s ({ratio:.2f} x, {milliseconds:.2f} ms, {cpu:,.0f} us of CPU)")
    return f"{case:>20}: {', '.join(parts)}"


if __name__ == "__main__":
    main()
