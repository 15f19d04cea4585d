"""What a variant costs: lookups of the shared rows with one and without, lookups of the variant, and memory.

usage: PYTHONPATH=. python benchmarks/bench_variants.py [--turns 200]

A table in this process, turn by turn, in the processor's time of the thread that looks up. Each lookup is of other signs.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from persia import _core
from persia.variant import variant_key

ROWS, DIM, SIGNS = 2_000_000, 16, 26_624  # of the table, and of a lookup
OWN = (10_000, 100_000, 1_000_000)  # rows that the variant has of its own
VARIANT = variant_key("b")


def table_with(own: int, storage: str = "f32") -> _core.Table:
    """With a variant of so many rows, or without one."""
    builder = _core.TableBuilder(storage)
    signs = np.arange(ROWS, dtype=np.uint64)
    builder.put(signs, np.ones((ROWS, DIM), np.float32))
    table = _core.Table(builder)
    layer = _core.Layer(storage)
    layer.put(np.random.default_rng(1).permutation(signs)[:own], np.full((own, DIM), 2.0, np.float32))
    table.begin_epoch(_core.Layer(storage), 1, 0, [(VARIANT, layer, True)] if own else [])
    return table


def seconds_of(table: _core.Table, rng: np.random.Generator, variant: int) -> float:
    signs = rng.integers(0, ROWS, SIGNS).astype(np.uint64)
    began = time.thread_time()
    table.pin().rows(signs, DIM, variant)
    return time.thread_time() - began


def spread(seconds: list[float], base: list[float]) -> str:
    low, median, high = np.percentile(seconds, [25, 50, 75]) / np.median(base)
    return f"{median:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=200)
    turns = parser.parse_args().turns
    rng, without = np.random.default_rng(2), table_with(0)
    print(f"lookups of {SIGNS} of {ROWS} rows of dim {DIM}, {turns} turns, against those without a variant (quartiles):")
    for own in OWN:
        table = table_with(own)
        base, shared, of_variant = [], [], []
        for _ in range(turns):
            base.append(seconds_of(without, rng, 0))
            shared.append(seconds_of(table, rng, 0))
            of_variant.append(seconds_of(table, rng, VARIANT))
        print(f"  {own} rows differ: shared {spread(shared, base)}, of the variant {spread(of_variant, base)}")
    for storage in ("f32", "f16", "int8"):
        own = OWN[1]
        size = table_with(own, storage).status().variant_bytes / own
        print(f"  {storage}: {size:.0f} bytes for each row that differs, {_core.bytes_per_row(storage, DIM):.0f} in the table")


if __name__ == "__main__":
    main()
