"""How fast the codecs are, beside plain Python and numpy for the same work.

usage: python benchmarks/bench_codecs.py [--batch 128] [--features 26] [--ids 16] [--rows 1000000] [--rounds 7] [--json FILE]

Prints medians over the rounds. Every round runs every contender once, in turn, so that a slow spell hits all of them.
The lists case makes its arrays anew in each round, as a client does. Files are read from the page cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from persia._core import EmbReader, Slot, Slots, decode_batch, make_plan, summarize_emb, write_emb
from persia.batch import IDTypeFeature, NonIDTypeFeature, PersiaBatch
from persia.signs import add_prefix, shard_of


def timed(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def encode_in_python(features: dict[str, list[np.ndarray]], dense: np.ndarray) -> bytes:
    """The same bytes with a dict per feature and struct: what one writes without this library."""
    out = bytearray(struct.pack("<4I", 1, 0, 2, dense.size) + dense.tobytes())
    out += struct.pack("<I2QI2qB", 2, *dense.shape, 2, dense.shape[1], 1, 1)
    name = b"non_id_type_feature_anonymous"
    out += struct.pack("<I", len(name)) + name + struct.pack("<IB", 0, 0) + struct.pack("<IBI", 1, 0, len(features))
    for key, samples in features.items():
        index: dict[int, list[int]] = {}
        for i, sample in enumerate(samples):
            for column, sign in enumerate(sample.tolist()):
                index.setdefault(sign, []).extend((i, column))
        raw = key.encode()
        out += struct.pack("<I", len(raw)) + raw + struct.pack("<I", len(index))
        for sign, positions in index.items():
            out += struct.pack(f"<QI{len(positions)}H", sign, len(positions) // 2, *positions)
        out += struct.pack(f"<{len(samples) + 1}I", len(samples), *(len(sample) for sample in samples))
        out += struct.pack("<I", len(index)) + b"".join(struct.pack("<Qq", sign, k) for k, sign in enumerate(index))
        out += struct.pack("<H", len(samples))
    return bytes(out + struct.pack("<3xIBB", 0, 0, 0))


def decode_in_python(raw: bytes) -> int:
    """Walks over the entries of a batch as encode_in_python lays it out; counts the ids."""
    items, at, ids = struct.unpack_from("<I", raw, 12)[0], 0, 0
    at = 16 + 4 * items + 4 + 16 + 4 + 16 + 1
    at += 4 + struct.unpack_from("<I", raw, at)[0] + 5
    (features,) = struct.unpack_from("<5xI", raw, at)
    at += 9
    for _ in range(features):
        at += 4 + struct.unpack_from("<I", raw, at)[0]
        (entries,) = struct.unpack_from("<I", raw, at)
        at += 4
        for _ in range(entries):
            _, count = struct.unpack_from("<QI", raw, at)
            struct.unpack_from(f"<{2 * count}H", raw, at + 12)
            at += 12 + 4 * count
            ids += count
        at += 4 + 4 * struct.unpack_from("<I", raw, at)[0]
        at += 4 + 16 * struct.unpack_from("<I", raw, at)[0] + 2
    return ids


def plan_with_numpy(raw: bytes) -> int:
    """Signs, shards and columns per shard by numpy; decoded natively, which flatters it."""
    signs = 0
    for i, feature in enumerate(decode_batch(raw).features):
        of_feature = add_prefix(feature.ids, (i + 1) << 56, 8)
        shards = shard_of(of_feature, 2)
        counts = np.diff(feature.offsets)
        for shard in range(2):
            here = shards == shard
            signs += len(of_feature[here]) + 0 * len(feature.positions[np.repeat(here, counts), 0])
    return signs


def read_emb_with_numpy(path: Path, dim: int) -> int:
    """A file of one dim without empty nodes or optimizer state is an array of records; nothing is checked."""
    fields = [
        ("next", "<u4"),
        ("prev", "<u4"),
        ("flag", "u1"),
        ("len", "<u4"),
        ("values", "<f4", (dim,)),
        ("dim", "<u8"),
        ("sign", "<u8"),
    ]
    nodes = np.fromfile(path, np.dtype(fields), offset=28)
    return len(np.ascontiguousarray(nodes["sign"])) + len(np.ascontiguousarray(nodes["values"]))


def read_emb(path: Path) -> int:
    return sum(len(signs) for signs, *_ in EmbReader(path))


def run(options: argparse.Namespace) -> dict[str, list[float]]:
    rng = np.random.default_rng(9)
    shape = (options.features, options.batch, options.ids)
    signs = rng.integers(0, 200_000, shape).astype(np.uint64)
    dense = rng.random((options.batch, 13), dtype=np.float32)
    offsets = np.arange(options.batch + 1) * options.ids
    names = [f"feature{i + 1}" for i in range(options.features)]

    def lists() -> dict[str, list[np.ndarray]]:
        return {name: [sample.copy() for sample in feature] for name, feature in zip(names, signs, strict=True)}

    def from_csr() -> bytes:
        features = [IDTypeFeature(name, feature.reshape(-1), offsets) for name, feature in zip(names, signs, strict=True)]
        return PersiaBatch(features, [NonIDTypeFeature(dense)], requires_grad=False).to_bytes()

    def from_lists(given: dict[str, list[np.ndarray]]) -> bytes:
        features = [IDTypeFeature(name, samples) for name, samples in given.items()]
        return PersiaBatch(features, [NonIDTypeFeature(dense)], requires_grad=False).to_bytes()

    slots = Slots([Slot(name, 16, prefix=(i + 1) << 56) for i, name in enumerate(names)], 8)
    raw = from_csr()
    assert raw == from_lists(lists()) == encode_in_python(lists(), dense) and decode_in_python(raw) == signs.size

    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rows.emb"
        rows = rng.random((options.rows, 16), dtype=np.float32)
        write_emb(path, [(np.arange(options.rows, dtype=np.uint64), rows)])
        for _ in range(options.rounds):
            given = lists()
            contenders: dict[str, Callable[[], Any]] = {
                "decode": lambda: decode_batch(raw),
                "decode and plan": lambda: make_plan(decode_batch(raw), slots, 2),
                "decode and plan, numpy": lambda: plan_with_numpy(raw),
                "decode, struct": lambda: decode_in_python(raw),
                "encode lists": partial(from_lists, given),
                "encode csr": from_csr,
                "encode, dict and struct": partial(encode_in_python, given, dense),
                "emb rows, checked": lambda: summarize_emb(path),
                "emb rows, copied to numpy": lambda: read_emb(path),
                "emb rows, numpy, unchecked": lambda: read_emb_with_numpy(path, 16),
            }
            for name, contender in contenders.items():
                times.setdefault(name, []).append(timed(contender))
    return times


def show(name: str, value: float, other: str, other_value: float, unit: str, ratio: float) -> None:
    print(f"{name:<26} {value:8.3f} {unit:<8}  {other:<26} {other_value:8.3f} {unit:<8}  {ratio:6.1f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in (("batch", 128), ("features", 26), ("ids", 16), ("rows", 1_000_000), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", help="also write the times of all rounds, in seconds, to this file")
    options = parser.parse_args()
    times = run(options)
    median = {name: statistics.median(values) for name, values in times.items()}
    for name, other in (
        ("decode", "decode, struct"),
        ("decode and plan", "decode and plan, numpy"),
        ("encode csr", "encode, dict and struct"),
        ("encode lists", "encode, dict and struct"),
    ):
        show(name, median[name] * 1e3, other, median[other] * 1e3, "ms", median[other] / median[name])
    for name, other in (
        ("emb rows, checked", "emb rows, numpy, unchecked"),
        ("emb rows, copied to numpy", "emb rows, numpy, unchecked"),
    ):
        rate, other_rate = (options.rows / median[key] / 1e6 for key in (name, other))
        show(name, rate, other, other_rate, "M rows/s", rate / other_rate)
    if options.json:
        Path(options.json).write_text(json.dumps(times, indent=1))


if __name__ == "__main__":
    main()
