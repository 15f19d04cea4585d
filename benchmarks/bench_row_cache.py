"""Lookups with and without the cache of hot rows, of ids that come as often as in a Zipf distribution.

usage: PYTHONPATH=.:tests python benchmarks/bench_row_cache.py [--rows 200000] [--rounds 3] [--seconds 3] [--threads 1]

Two shards with 26 features of dim 16 and `--rows` ids each; batches of 1x1 and 128x16 (samples x ids of each feature). Asked by
a router in this process and through a middleware, without the cache, with one that has room for all rows, and with a small one.
A turn begins with lookups that fill the cache. Figures: batches per second (medians over the rounds, contenders take turns),
the share of requests that the cache answered, and the 99th percentile in ms.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import yaml
from middlewares import Middleware
from routing_reference import encode
from servers import EmbeddingServer

from embedding_server.writer import write_checkpoint
from persia import _core
from persia.config import load_embedding_config
from persia.routing.lookup import Lookups, RouterOptions
from persia.routing.middleware import MiddlewareClient
from persia.routing.router import Router

FEATURES, DIM, SHARDS = 26, 16, 2
HOUR_MS = 3_600_000
CACHES = {"off": {}, "4 GiB": {"row_cache_mib": 4096}, "32 MiB": {"row_cache_mib": 32}}
FILL_SECONDS = 3.0


def settings_of(cache: str) -> dict[str, int]:
    return {"row_cache_max_age_ms": HOUR_MS, **CACHES[cache]} if CACHES[cache] else {}


def write_model(directory: Path, rows: int) -> tuple[Path, Path]:
    """Returns the embedding config and the checkpoint."""
    config_path = directory / "embedding_config.yml"
    slots = {f"feature{i}": {"dim": DIM} for i in range(FEATURES)}
    config_path.write_text(yaml.safe_dump({"slots_config": slots}, sort_keys=False))
    config = load_embedding_config(config_path)
    values = np.random.default_rng(1).random((rows, DIM), np.float32)
    blocks = [(np.arange(rows, dtype=np.uint64) + np.uint64(slot.prefix), values) for slot in config.slots.values()]
    write_checkpoint(directory / "checkpoint", blocks, shards=SHARDS)
    return config_path, directory / "checkpoint"


def batches_of(samples: int, ids: int, rows: int, exponent: float, count: int) -> list[_core.Batch]:
    weights = np.arange(1, rows + 1, dtype=np.float64) ** -exponent
    edges = np.cumsum(weights) / weights.sum()
    rng = np.random.default_rng(2)

    def batch() -> _core.Batch:
        draws = np.searchsorted(edges, rng.random((FEATURES, samples, ids)))
        return encode({f"feature{i}": draws[i].tolist() for i in range(FEATURES)})

    return [batch() for _ in range(count)]


def run(lookups: Lookups, batches: list[_core.Batch], seconds: float, threads: int) -> list[float]:
    """The time of each lookup."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    def work(first: int) -> None:
        turn = first
        while (began := time.perf_counter()) < end:
            lookups.lookup(batches[turn % len(batches)])
            times.append(time.perf_counter() - began)
            turn += threads

    workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        config, checkpoint = write_model(directory, options.rows)
        servers = [
            stack.enter_context(EmbeddingServer(directory, config, checkpoint=checkpoint, index=i, count=SHARDS))
            for i in range(SHARDS)
        ]
        addresses = [server.wait_ready().address for server in servers]
        for shape, exponent in [((1, 1), 1.0), ((1, 1), 1.3), ((128, 16), 1.0), ((128, 16), 1.3)]:
            batches = batches_of(*shape, options.rows, exponent, 20_000 // (shape[0] * shape[1]) + 20)
            for way in ("direct", "middleware"):
                title = f"{shape[0]}x{shape[1]} s={exponent}"
                compare(directory / f"{way}-{title}", config, addresses, way, batches, options, title)


def compare(
    directory: Path,
    config: Path,
    addresses: list[str],
    way: str,
    batches: list[_core.Batch],
    options: argparse.Namespace,
    title: str,
) -> None:
    with ExitStack() as stack:
        contenders: dict[str, Lookups] = {}
        routers: dict[str, Router] = {}
        for cache in CACHES:
            if way == "middleware":
                middleware = Middleware(directory / cache, config, addresses, settings=settings_of(cache))
                stack.enter_context(middleware).wait_ready()
                contenders[cache] = MiddlewareClient([middleware.address], RouterOptions())
            else:
                size = settings_of(cache).get("row_cache_mib", 1) << 20
                routers[cache] = Router(
                    load_embedding_config(config),
                    [[address] for address in addresses],
                    RouterOptions(row_cache_max_age=3600.0 if CACHES[cache] else 0.0, row_cache_bytes=size),
                )
                contenders[cache] = routers[cache]
            stack.callback(contenders[cache].close)
            run(contenders[cache], batches, FILL_SECONDS, options.threads)
        rates: dict[str, list[float]] = {cache: [] for cache in CACHES}
        slow: dict[str, list[float]] = {cache: [] for cache in CACHES}
        for _ in range(options.rounds):
            for cache, lookups in contenders.items():
                times = run(lookups, batches, options.seconds, options.threads)
                rates[cache].append(len(times) / options.seconds)
                slow[cache].append(float(np.percentile(times, 99)) * 1e3)
        for cache in CACHES:
            totals = [rows.totals() for rows in routers[cache].hot_rows] if cache in routers else []
            asked = sum(each.requests for each in totals)
            hits = f"{sum(each.requests_answered for each in totals) / asked:.0%}" if asked else "-"
            print(
                f"{title:20} {way:11} {cache:7} {statistics.median(rates[cache]):8.0f}/s "
                f"p99 {statistics.median(slow[cache]):6.2f} ms  answered here {hits}",
                flush=True,
            )


if __name__ == "__main__":
    main()
