"""Kills an import at each of its steps in turn, and tells whether the next one ended in the same files. A program of its own:

    python -m tests.support.killed_imports DIRECTORY

It forks without threads, and counts what the interpreter does with the file system by audit events. Children die at the n-th.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np

from persia.errors import CorruptFile
from persia.formats.checkpoint import open_checkpoint
from persia.importers import MappedSlot, TableMap, import_tables, verify_import
from persia.importers.formats import open_source
from tests.support.imported import config_of

ROWS = 120
EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def run_import(source: Path, out: Path) -> None:
    import_tables(
        open_source("numpy", source),
        out,
        format="numpy",
        origin=source,
        config=config_of({"user": 2}),
        table_map=TableMap(slots={"user": MappedSlot(table=source.name)}),
        shards=2,
        files_per_shard=1,
        save_every=1,
        workers=1,
        overwrite=True,
    )


def killed_at(event: int, source: Path, out: Path) -> bool:
    """Whether a child that imports was killed at its event of that number; it has fewer, if not."""
    child = os.fork()
    if child == 0:
        left = event

        def count(name: str, _: object) -> None:
            nonlocal left
            if name in EVENTS:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        run_import(source, out)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)


def files_of(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.emb"))}


def main(directory: Path) -> None:
    source, straight = directory / "t", directory / "straight"
    source.mkdir()
    np.save(source / "rows.npy", np.random.default_rng(1).normal(size=(ROWS, 2)).astype(np.float32))
    run_import(source, straight)
    kills = whole = 0
    while killed_at(kills + 1, source, out := directory / str(kills)):
        kills += 1
        if (out / "embedding_dump_done").exists():
            verify_import(out)  # what has a marker has its report, and all rows
            whole += 1
        elif out.exists():
            try:
                open_checkpoint(out)
            except CorruptFile:
                pass
            else:
                raise AssertionError(f"half a checkpoint is taken for a whole one after event {kills}")
        # The next one is killed, too, one event later in what it does.
        killed_at(kills % 7 + 1, source, out)
        run_import(source, out)
        verify_import(out)
        assert files_of(out) == files_of(straight), kills
        assert not (out / ".import_unfinished").exists(), kills
    print(kills, whole)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
