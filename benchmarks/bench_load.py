"""Loading checkpoint files, and what the rows cost in memory, beside what one would reach for instead.

usage: python benchmarks/bench_load.py [--rows 5200000] [--memory-rows 100000 630000 1048577 5200000 50000000] [--rounds 5]
                                       [--json FILE]

    this    the sign table, one thread, files checked as they are read
    pandas  the file as a numpy array of records, pandas' hash table of u64; nothing is checked
    dict    the file as a numpy array of records, a Python dict from sign to place; nothing is checked

Files are read from the page cache. Medians over the rounds; every load is a process of its own. Memory is the growth of the
process's resident memory, divided by the rows; the peak is the highest that it was while loading. 50 million rows are 4.5 GiB
of files in the directory for temporary files.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_lookup import DIM, signs_of, values_of
from contender import Contender, seconds

from persia import _core

FILES = 8
RECORD = np.dtype(
    [
        ("next", "<u4"),
        ("prev", "<u4"),
        ("flag", "u1"),
        ("len", "<u4"),
        ("values", "<f4", (DIM,)),
        ("dim", "<u8"),
        ("sign", "<u8"),
    ]
)
HEADER = 28  # bytes before the first record


def write_files(directory: Path, rows: int) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for k, part in enumerate(np.array_split(np.arange(rows), FILES)):
        places = rng.permutation(part)
        paths.append(directory / f"replica_0_shard_{k}.emb")
        _core.write_emb(paths[-1], [(signs_of(places), values_of(places))])
    return paths


def memory(field: str) -> int:
    """A field of the process's status, in bytes: VmRSS now, VmHWM at its highest."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def load_this(paths: list[Path], known: bool) -> _core.Table:
    builder = _core.TableBuilder()
    if known:
        builder.reserve(sum(_core.EmbReader(path).rows for path in paths))
    for path in paths:
        builder.load_emb(path)
    return _core.Table(builder)


def build_this(paths: list[Path], known: bool) -> dict[str, Callable[[], Any]]:
    return {"load": lambda: seconds(lambda: load_this(paths, known)), "memory": lambda: cost(lambda: load_this(paths, known))}


def cost(load: Callable[[], _core.Table]) -> dict[str, float]:
    """Bytes per row."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest so far
    before = memory("VmRSS")
    table = load()
    after, peak, status = memory("VmRSS"), memory("VmHWM"), table.status()
    return {
        "resident": (after - before) / status.base_rows,
        "peak / resident": (peak - before) / (after - before),
        "accounted": status.base_bytes / status.base_rows,
    }


def build_others(paths: list[Path]) -> dict[str, Callable[[], Any]]:
    from pandas._libs.hashtable import UInt64HashTable

    def records() -> tuple[np.ndarray, np.ndarray]:
        parts = [np.fromfile(path, RECORD, offset=HEADER) for path in paths]
        return np.concatenate([part["sign"] for part in parts]), np.concatenate([part["values"] for part in parts])

    def load_pandas() -> Any:
        signs, values = records()
        table = UInt64HashTable(len(signs))
        table.map_locations(signs)
        return table, values

    def load_dict() -> Any:
        signs, values = records()
        return dict(zip(signs.tolist(), range(len(signs)), strict=True)), values

    return {"pandas": lambda: seconds(load_pandas), "dict": lambda: seconds(load_dict)}


def once(job: str, build: Callable[..., dict[str, Callable[[], Any]]], *arguments: Any) -> Any:
    contender = Contender(build, *arguments)
    try:
        return contender.ask(job)
    finally:
        contender.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_200_000)
    parser.add_argument("--memory-rows", type=int, nargs="*", default=[100_000, 630_000, 1_048_577, 5_200_000, 50_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="also write the figures of all rounds to this file")
    options = parser.parse_args()
    rates: dict[str, list[float]] = {}
    costs: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        paths = write_files(Path(directory), options.rows)
        print(f"{FILES} files of together {options.rows:,} rows of dim {DIM}, {sum(map(os.path.getsize, paths)) >> 20} MiB")
        for _ in range(options.rounds):
            took = {
                "this": once("load", build_this, paths, True),
                "this, rows not counted first": once("load", build_this, paths, False),
                "pandas": once("pandas", build_others, paths),
                "dict": once("dict", build_others, paths),
            }
            for name, duration in took.items():
                rates.setdefault(name, []).append(options.rows / duration / 1e6)
    print("loading [million rows/s]")
    print("    " + "   ".join(f"{name} {statistics.median(values):.3g}" for name, values in rates.items()))
    print(f"memory [bytes per row; {8 + 4 * DIM} are sign and numbers]")
    for rows in options.memory_rows:
        with tempfile.TemporaryDirectory() as directory:
            paths = write_files(Path(directory), rows)
            for known in (True, False):
                name = f"{rows:,} rows{'' if known else ', not counted first'}"
                costs[name] = once("memory", build_this, paths, known)
                print(f"    {name:>37}: " + "   ".join(f"{key} {value:.2f}" for key, value in costs[name].items()), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({"loading": rates, "memory": costs}, indent=1))


if __name__ == "__main__":
    main()
