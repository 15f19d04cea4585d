"""How fast a distributed checkpoint of torch is imported, step by step, in processor time, and how much memory that takes.

PYTHONPATH=. python benchmarks/bench_import.py --rows 5000000 --dim 16
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from persia.config import EmbeddingConfig, SlotConfig
from persia.importers import MappedSlot, TableMap, import_tables, verify_import
from persia.importers.formats import open_source

TABLE = "sparse.embedding_bags.t.weight"
# In a process of its own, so that the memory of torch is not counted.
MAKE = """
import sys, torch
from torch.distributed.checkpoint.state_dict_saver import save
save({sys.argv[1]: torch.rand(int(sys.argv[2]), int(sys.argv[3]))}, checkpoint_id=sys.argv[4], no_dist=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--dim", type=int, default=16)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source, out = Path(scratch, "source"), Path(scratch, "out")
        made = [TABLE, str(arguments.rows), str(arguments.dim), str(source)]
        subprocess.run([sys.executable, "-c", MAKE, *made], check=True)
        seconds, processor = import_once(source, out, arguments.dim)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"import, with its proof: {arguments.rows / processor:,.0f} rows a second of processor time, {seconds:.1f} s in all"
        )
        begin = time.process_time()
        verify_import(out)
        print(f"verify: {arguments.rows / (time.process_time() - begin):,.0f} rows a second of processor time")
        print(f"peak memory: {peak:,.0f} MiB")


def import_once(source: Path, out: Path, dim: int) -> tuple[float, float]:
    """Seconds by the clock, and of the processor."""
    begin, processor = time.monotonic(), time.process_time()
    import_tables(
        open_source("torch-dcp", source),
        out,
        format="torch-dcp",
        origin=source,
        config=EmbeddingConfig(slots_config={"user": SlotConfig(dim=dim)}),
        table_map=TableMap(slots={"user": MappedSlot(table=TABLE)}),
        shards=2,
    )
    return time.monotonic() - begin, time.process_time() - processor


if __name__ == "__main__":
    main()
