"""Reads back what the writers wrote, and lets a writer die at each of its steps."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia._core import EmbReader, IncReader
from persia.system.durable import is_temporary
from tests.support.places import ROOT

Block = tuple[npt.NDArray[np.uint64], npt.NDArray[np.float32]]
Rows = dict[int, bytes]


def block(signs: Iterable[int], value: float = 1.0, dim: int = 2) -> Block:
    array = np.fromiter(signs, np.uint64)
    return array, np.full((len(array), dim), value, np.float32)


def rows_of(blocks: Iterable[Block]) -> Rows:
    """The last row of each sign, in the order of first mention."""
    return {int(sign): row.tobytes() for signs, rows in blocks for sign, row in zip(signs, rows, strict=True)}


def read_rows(reader: EmbReader | IncReader) -> Rows:
    rows: Rows = {}
    for signs, dims, values, _ in reader:
        for sign, part in zip(signs.tolist(), np.split(values, np.cumsum(dims)[:-1]), strict=True):
            assert sign not in rows
            rows[sign] = part.tobytes()
    return rows


def packets_in(shard: Path) -> list[Path]:
    """In the order of their names; nothing else may lie beside them but what is the writer's own."""
    names = sorted(path.name for path in shard.iterdir())
    assert all(name.startswith("inc_") or name == ".writer" for name in names), names
    return [shard / name for name in names if name != ".writer"]


def read_packet(packet: Path) -> Rows:
    rows: Rows = {}
    for path in sorted(packet.glob("*.inc")):
        more = read_rows(IncReader(path))
        assert rows.keys().isdisjoint(more)
        rows |= more
    return rows


def replay(shard: Path) -> Rows:
    """What a server has after it applied the packets in order."""
    rows: Rows = {}
    for packet in packets_in(shard):
        rows |= read_packet(packet)
    return rows


def read_checkpoint(directory: Path) -> Rows:
    rows: Rows = {}
    for path in sorted(directory.glob("s*/*.emb")):
        more = read_rows(EmbReader(path))
        assert rows.keys().isdisjoint(more)
        rows |= more
    return rows


def temporaries_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if is_temporary(path.name)]


# A step is whatever changes the file system from Python. Each child dies before its k-th, until one comes through.
_DIE_AT_EACH_STEP = """
import _strptime, itertools, os, signal, sys  # the first: else it is imported, in steps, only if two packets are of one second
from pathlib import Path
sys.path.insert(0, {root!r})
import persia.writers.checkpoint as checkpoint
import persia.writers.packet_files as packet_files
from persia.writers import IncrementalDumper, write_checkpoint
from tests.support.written import block

left = None

def step(*_):
    global left
    if left is not None:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def counted(function):
    def call(*args):
        step()
        return function(*args)
    return call

os.fsync = counted(os.fsync)
checkpoint.write_emb = counted(checkpoint.write_emb)
packet_files.write_inc = counted(packet_files.write_inc)
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")
sys.addaudithook(lambda event, args: step() if event in EVENTS else None)

def work(directory):
{work}

for k in itertools.count(1):
    child = os.fork()
    if child == 0:
        directory = Path(sys.argv[1], f"{{k:03}}")
        directory.mkdir()
        left = k
        work(directory)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


def die_at_each_step(work: str, tmp_path: Path) -> list[Path]:
    """Runs `work`, which writes to `directory`, again and again. Returns the directories; the last one is whole."""
    code = _DIE_AT_EACH_STEP.format(root=str(ROOT), work="\n".join("    " + line for line in work.splitlines()))
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    return sorted(tmp_path.iterdir())
