"""Writers that die at each of their steps, or whose disk is full: what is there is complete and right, or has no marker."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from persia.embedding_server.tools.inspection import inspect_checkpoint
from persia.writers import IncrementalDumper, verify_packet, write_checkpoint
from tests.support.places import ROOT
from tests.support.written import block, die_at_each_step, packets_in, read_checkpoint, rows_of, temporaries_in

PACKET_IN_LITTLE_ROOM = """
import resource, sys
from persia.writers import IncrementalDumper
from tests.support.written import block
dumper = IncrementalDumper(sys.argv[1], seconds=1e6)
dumper.commit(*block(range(10_000)))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    dumper.flush()
except OSError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
dumper.close()
"""


def test_a_packet_whose_file_cannot_grow(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PACKET_IN_LITTLE_ROOM, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "File too large" in run.stdout
    (packet,) = packets_in(tmp_path / "s0")
    assert verify_packet(packet).rows == 10_000


def check_after_a_crash(shard: Path) -> int:
    """What is there is whole; a new dumper goes on. Returns how many packets there were."""
    packets = packets_in(shard) if shard.exists() else []
    assert [(info.complete, info.manifest and info.manifest.sequence) for info in map(verify_packet, packets)] == [
        (True, k) for k in range(len(packets))
    ]
    with IncrementalDumper(shard.parent) as dumper:
        dumper.commit(*block([2**64 - 1]))
    infos = [verify_packet(packet) for packet in packets_in(shard)]
    assert len(infos) == len(packets) + 1 and infos[-1].manifest and infos[-1].manifest.sequence == len(packets)
    return len(packets)


def test_a_dumper_may_die_at_any_step(tmp_path: Path) -> None:
    work = "with IncrementalDumper(directory, seconds=1e6) as dumper:\n"
    for value in range(2):
        work += f"    dumper.commit(*block(range(50), value={value}), ttl=9)\n"
        work += "    dumper.delete(block([7])[0])\n    dumper.flush()\n"
    directories = die_at_each_step(work, tmp_path)
    packets = [check_after_a_crash(directory / "s0") for directory in directories]
    assert set(packets) == {0, 1, 2} and packets == sorted(packets)


PACKETS_FOR_EVER = """
import itertools, sys
from persia.writers import IncrementalDumper
from tests.support.written import block
dumper = IncrementalDumper(sys.argv[1], seconds=1e6)
for k in itertools.count():
    dumper.commit(*block(range(3000), value=k))
    dumper.flush()
    print(k, flush=True)
"""


@pytest.mark.parametrize("seed", range(4))
def test_a_dumper_that_is_killed(seed: int, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", PACKETS_FOR_EVER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout
    seen = random.Random(seed).randrange(1, 30)
    for _ in range(seen):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert check_after_a_crash(tmp_path / "s0") >= seen


def check_checkpoint_after_a_crash(directory: Path) -> bool:
    """Finished and right, or not finished; and the next one can be written. Returns whether it was finished."""
    finished = (directory / "embedding_dump_done").exists()
    if finished:
        assert inspect_checkpoint(directory).problems == []
        assert read_checkpoint(directory) == rows_of([block(range(100))])
    write_checkpoint(directory, [block([7])], shards=1, files_per_shard=1, overwrite=finished)
    assert inspect_checkpoint(directory).problems == []
    assert read_checkpoint(directory) == rows_of([block([7])]) and temporaries_in(directory) == []
    return finished


def test_a_checkpoint_writer_may_die_at_any_step(tmp_path: Path) -> None:
    work = "write_checkpoint(directory, [block(range(100))], shards=2, files_per_shard=2, workers=1)"
    finished = [check_checkpoint_after_a_crash(directory) for directory in die_at_each_step(work, tmp_path)]
    assert len(finished) > 20 and finished == sorted(finished) and set(finished) == {False, True}


def test_while_a_checkpoint_is_overwritten_there_is_none(tmp_path: Path) -> None:
    work = "write_checkpoint(directory, [block(range(3))], shards=3, files_per_shard=1)\n"
    work += "write_checkpoint(directory, [block(range(100))], shards=2, files_per_shard=2, overwrite=True, workers=1)"
    for directory in die_at_each_step(work, tmp_path):
        if (directory / "embedding_dump_done").exists():
            assert inspect_checkpoint(directory).problems == []
            assert read_checkpoint(directory) in (rows_of([block(range(3))]), rows_of([block(range(100))]))


CHECKPOINT_IN_LITTLE_ROOM = """
import resource, sys
from persia.writers import write_checkpoint
from tests.support.written import block
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
try:
    blocks = [block(range(k, k + 1000)) for k in range(0, 10_000, 1000)]
    write_checkpoint(sys.argv[1], blocks, shards=2, files_per_shard=1, memory=int(sys.argv[2]))
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("memory", [1, 1 << 30], ids=["in its temporary file", "in an .emb file"])
def test_a_checkpoint_whose_files_cannot_grow(memory: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHECKPOINT_IN_LITTLE_ROOM, str(tmp_path), str(memory)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "File too large" in run.stdout
    assert not list(tmp_path.rglob("embedding_dump_done")) and not list(tmp_path.rglob("*.emb"))
    assert not check_checkpoint_after_a_crash(tmp_path)


CHECKPOINTS_FOR_EVER = """
import itertools, sys
from persia.writers import write_checkpoint
from tests.support.written import block
for k in itertools.count():
    print(k, flush=True)
    write_checkpoint(sys.argv[1], [block(range(100))], shards=2, files_per_shard=2, overwrite=True)
"""


@pytest.mark.parametrize("seed", range(4))
def test_a_checkpoint_writer_that_is_killed(seed: int, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", CHECKPOINTS_FOR_EVER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout
    for _ in range(random.Random(seed).randrange(1, 20)):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    check_checkpoint_after_a_crash(tmp_path)
