"""Ten million rows through a worker's watch for drift: its memory must stay as it is. `make drift-soak` runs it.

usage: PYTHONPATH=. python benchmarks/soak_drift.py [--rows 10000000]

Ids are all new, dense numbers and scores random, windows end after 200,000 rows. Prints the resident memory after each tenth of
the rows, the largest file, and the rows per second of one core. Exits with 1 if memory grew by more than 16 MiB after that.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from persia._core import decode_batch
from persia.batch import IDTypeFeature, IDTypeFeatureWithSingleID, NonIDTypeFeature, PersiaBatch
from persia.drift.recorder import Recorder, Windows
from persia.drift.samples import Keeping, SampleStore
from persia.drift.sketching import add_batch
from persia.drift.state import StateDirectory
from persia.drift.window import Window
from persia.feature_lookup import FeatureLookup

ROWS, ALLOWED = 5000, 16 << 20


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def batch_of(generator: np.random.Generator) -> bytes:
    users = generator.integers(0, 1 << 62, ROWS, np.uint64)
    values = generator.integers(0, 1 << 62, ROWS * 3, np.uint64)
    tags = IDTypeFeature("tags", values, np.arange(0, ROWS * 3 + 1, 3))
    dense = NonIDTypeFeature(generator.random((ROWS, 4), np.float32))
    return PersiaBatch([IDTypeFeatureWithSingleID("user", users), tags], [dense], requires_grad=False).to_bytes()


def add_to(batch: Any, lookups: Any, scores: Any, window: Window, draws: np.random.Generator) -> None:
    add_batch(window, batch, lookups, scores, draws)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    total = parser.parse_args().rows
    generator = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        directory = StateDirectory(Path(name), "soak", "1")
        recorder = Recorder(directory, Windows(samples=200_000, history_bytes=1 << 20), seed=1)
        store = SampleStore(directory.path, "1", Keeping(inputs=True, most_bytes=1 << 20), seed=1)
        memory, spent, done, tenth = [], 0.0, 0, total // 10
        while done < total:
            batch = decode_batch(batch_of(generator))
            scores: dict[str | None, Any] = {None: generator.random(ROWS, np.float32)}
            lookups = [FeatureLookup(feature.name, len(feature.ids), 3, 0, 0) for feature in batch.features]
            before = time.process_time()
            recorder.add(partial(add_to, batch, lookups, scores))
            store.add_batch(str(done), batch, scores)
            if recorder.is_over():
                recorder.end_window(ROWS, 0)
                store.end_window()
            spent += time.process_time() - before
            done += ROWS
            if done % tenth < ROWS:
                memory.append(resident())
                print(f"{done:9} rows: {memory[-1] / 2**20:6.1f} MiB", flush=True)
        sizes = [path.stat().st_size for path in directory.path.iterdir()]
    print(
        f"{done / spent:.0f} rows a second; {len(sizes)} files of {sum(sizes) / 2**20:.1f} MiB, the largest {max(sizes)} bytes"
    )
    if max(memory) - memory[0] > ALLOWED:
        sys.exit(f"memory grew by {(max(memory) - memory[0]) / 2**20:.1f} MiB after the first tenth")


if __name__ == "__main__":
    main()
