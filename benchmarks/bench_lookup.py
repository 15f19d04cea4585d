"""Looking rows up, beside what one would reach for instead.

usage: python benchmarks/bench_lookup.py [--rows 5200000 50000000] [--rounds 7] [--json FILE]

    this    the sign table
    dict    a Python dict from sign to place, numpy for the rows (left out above --dict-rows: it needs 130 bytes a key)
    pandas  pandas' hash table of u64 from sign to place, torch or numpy for the rows
    torch   torch.nn.functional.embedding_bag, given the places: no signs, no hash table, one thread

Medians over the rounds; in each round every contender has its turn. All use one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from contender import Contender, seconds

from persia import _core

DIM = 16
IDS_PER_SUM = 16
SUMS = 2048  # at a time
KEYS = 2000  # of a plain lookup
PLAIN_ROWS = 630_000
LAYER_ROWS = 1_000_000
FEATURES = 26

U64 = npt.NDArray[np.uint64]


def signs_of(places: npt.NDArray[np.int64]) -> U64:
    """As Persia's features have them: a prefix in the high bits, ids counted from 0 below."""
    return ((places % FEATURES + 1) << 56 | places // FEATURES).astype(np.uint64)


def values_of(places: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    scale = (places % 1000).astype(np.float32) / np.float32(1000)
    values: npt.NDArray[np.float32] = np.multiply.outer(scale, np.linspace(0.1, 1, DIM, dtype=np.float32))
    return values


def table_of(rows: int) -> _core.Table:
    builder = _core.TableBuilder()
    builder.reserve(rows)
    for begin in range(0, rows, 1 << 18):
        places = np.arange(begin, min(rows, begin + (1 << 18)))
        builder.put(signs_of(places), values_of(places))
    return _core.Table(builder)


def build_this(rows: int) -> dict[str, Callable[[], Any]]:
    table = table_of(rows)
    rng = np.random.default_rng(1)
    batches = [rng.integers(0, rows, SUMS * IDS_PER_SUM) for _ in range(32)]
    requests = [signs_of(batch).tobytes() for batch in batches]
    counts = np.ones(SUMS * IDS_PER_SUM, np.uint32).tobytes()
    samples = np.repeat(np.arange(SUMS, dtype=np.uint16), IDS_PER_SUM).tobytes()
    part = np.array([0, 1, DIM, SUMS, SUMS * IDS_PER_SUM, SUMS * IDS_PER_SUM], np.uint32).tobytes()

    def pooled(signs: bytes) -> npt.NDArray[np.float32]:
        return _core.answer(table.pin(), part, signs, counts, samples, 1 << 24)[0]

    want = values_of(batches[0]).reshape(SUMS, IDS_PER_SUM, DIM).sum(1)
    np.testing.assert_allclose(pooled(requests[0]).reshape(SUMS, DIM), want, rtol=1e-4)
    lookups = Plain(table, rows)
    return {
        "pooled": lambda: seconds(lambda: [pooled(signs) for signs in requests]) / len(requests),
        "plain": lookups.quiet,
        "plain with updates": lookups.busy,
    }


class Plain:
    """Lookups of KEYS rows, alone or beside a thread that builds, publishes and folds a large layer."""

    def __init__(self, table: _core.Table, rows: int) -> None:
        self.table, self.rows = table, rows
        rng = np.random.default_rng(2)
        self.keys = [signs_of(rng.integers(0, rows, KEYS)) for _ in range(200)]
        # The layer changes every row there is and adds others, which are deleted again before the next round.
        self.changed = signs_of(np.arange(LAYER_ROWS))
        self.values = values_of(np.arange(LAYER_ROWS))

    def times(self, go_on: Callable[[int], bool]) -> list[float]:
        times: list[float] = []
        while go_on(len(times)):
            keys = self.keys[len(times) % len(self.keys)]
            times.append(seconds(lambda keys=keys: self.table.pin().rows(keys, DIM)))  # type: ignore[misc]
        return times

    def quiet(self) -> list[float]:
        return self.times(lambda done: done < 10_000)

    def busy(self) -> list[float]:
        finished = threading.Event()

        def update() -> None:
            layer = _core.Layer()
            layer.put(self.changed, self.values)
            self.table.publish(layer)
            self.table.wait_folded(60)
            finished.set()

        thread = threading.Thread(target=update)
        thread.start()
        times = self.times(lambda _: not finished.is_set())
        thread.join()
        layer = _core.Layer()
        layer.add_tombstones(self.changed[self.rows :])
        self.table.publish(layer)
        self.table.wait_folded(60)
        return times


def build_others(rows: int, with_dict: bool) -> dict[str, Callable[[], Any]]:
    import torch
    from pandas._libs.hashtable import UInt64HashTable
    from torch.nn.functional import embedding_bag

    torch.set_num_threads(1)
    values = np.empty((rows, DIM), np.float32)
    for begin in range(0, rows, 1 << 18):
        values[begin : begin + (1 << 18)] = values_of(np.arange(begin, min(rows, begin + (1 << 18))))
    weights = torch.from_numpy(values)
    known = signs_of(np.arange(rows))
    hashed = UInt64HashTable(rows)
    hashed.map_locations(known)
    places_by_sign = dict(zip(known.tolist(), range(rows), strict=True)) if with_dict else {}
    del known
    rng = np.random.default_rng(1)
    batches = [rng.integers(0, rows, SUMS * IDS_PER_SUM) for _ in range(32 if rows > 10_000_000 else 16)]
    requests = [signs_of(batch) for batch in batches]
    keys = [signs_of(rng.integers(0, rows, KEYS)) for _ in range(200)]

    def from_dict(signs: U64) -> npt.NDArray[np.int64]:
        return np.fromiter(map(places_by_sign.__getitem__, signs.tolist()), np.int64, len(signs))

    def bag(places: npt.NDArray[np.int64]) -> Any:
        return embedding_bag(torch.from_numpy(places).view(SUMS, IDS_PER_SUM), weights, mode="sum")

    def rate(pool: Callable[[Any], Any], given: list[Any]) -> Callable[[], float]:
        return lambda: seconds(lambda: [pool(one) for one in given]) / len(given)

    def plain(find: Callable[[U64], npt.NDArray[np.int64]]) -> Callable[[], list[float]]:
        return lambda: [seconds(lambda one=one: values[find(one)]) for one in keys * 5]  # type: ignore[misc]

    jobs: dict[str, Callable[[], Any]] = {
        "torch pooled": rate(bag, batches),
        "pandas pooled": rate(lambda signs: bag(hashed.lookup(signs)), requests),
        "pandas plain": plain(hashed.lookup),
    }
    if with_dict:
        jobs["dict pooled"] = rate(lambda signs: bag(from_dict(signs)), requests)
        jobs["dict plain"] = plain(from_dict)
    return jobs


def p99(times: list[float]) -> float:
    return float(np.percentile(times, 99))


def measure_pooled(rows: int, rounds: int, with_dict: bool) -> dict[str, list[float]]:
    """Millions of ids per second."""
    this, others = Contender(build_this, rows), Contender(build_others, rows, with_dict)
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name in ("this", "torch", "pandas", *(["dict"] if with_dict else [])):
            took = this.ask("pooled") if name == "this" else others.ask(f"{name} pooled")
            rates.setdefault(name, []).append(SUMS * IDS_PER_SUM / took / 1e6)
    this.stop()
    others.stop()
    return rates


def measure_plain(rounds: int) -> dict[str, list[float]]:
    """The 99th percentile of one lookup, in ms."""
    this, others = Contender(build_this, PLAIN_ROWS), Contender(build_others, PLAIN_ROWS, True)
    this.ask("plain")  # the first lookups touch memory for the first time
    figures: dict[str, list[float]] = {}
    for _ in range(rounds):
        times = {"this": this.ask("plain"), "with updates": this.ask("plain with updates")}
        times |= {name: others.ask(f"{name} plain") for name in ("pandas", "dict")}
        for name, of_one in times.items():
            figures.setdefault(name, []).append(p99(of_one) * 1e3)
            figures.setdefault(f"{name}, median", []).append(float(np.median(of_one)) * 1e3)
    this.stop()
    others.stop()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[5_200_000, 50_000_000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dict-rows", type=int, default=10_000_000)
    parser.add_argument("--json", help="also write the figures of all rounds to this file")
    options = parser.parse_args()
    everything: dict[str, dict[str, list[float]]] = {}

    def show(title: str, figures: dict[str, list[float]], unit: str) -> None:
        everything[title] = figures
        shown = "   ".join(f"{name} {statistics.median(values):.3g}" for name, values in figures.items())
        print(f"{title} [{unit}]\n    {shown}", flush=True)

    start = time.perf_counter()
    for rows in options.rows:
        figures = measure_pooled(rows, options.rounds, rows <= options.dict_rows)
        show(f"sums of {IDS_PER_SUM}, dim {DIM}, {rows:,} rows", figures, "million ids/s")
    plain = measure_plain(options.rounds)
    show(f"{KEYS:,} rows of dim {DIM} out of {PLAIN_ROWS:,}, 99th percentile", plain, "ms")
    ratio = [busy / quiet for busy, quiet in zip(plain["with updates"], plain["this"], strict=True)]
    show("  with a layer of a million rows built, published and folded, over without", {"ratio": ratio}, "x")
    print(f"({time.perf_counter() - start:.0f} s)")
    if options.json:
        Path(options.json).write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
