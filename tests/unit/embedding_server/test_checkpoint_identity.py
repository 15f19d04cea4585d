"""What the identity of a checkpoint follows from, and what a server says of loading one."""

from __future__ import annotations

import logging
import os
import shutil
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from persia.checkpoint_id import checkpoint_name, checkpoint_text
from persia.embedding_server import starting
from persia.embedding_server.options import ShardOptions
from persia.embedding_server.shard import ShardServer
from persia.errors import CorruptFile
from persia.formats.checkpoint import Checkpoint, open_checkpoint
from persia.formats.identity import identify
from persia.writers import write_checkpoint
from tests.support.golden import GOLDEN
from tests.support.two_checkpoints import OLD, write

MIX = GOLDEN / "mix"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MIX / "ckpt", tmp_path / "ckpt"))


def identity_of(directory: Path, index: int = 0, count: int = 1, workers: int = 2) -> int:
    return identify(open_checkpoint(directory, index, count), workers)


def test_all_servers_of_all_shards_come_to_the_same_wherever_it_lies(copy: Path) -> None:
    want = identity_of(MIX / "ckpt")
    assert 0 < want < 1 << 64
    places = [(0, 1), (0, 2), (1, 2), (2, 3), (7, 9)]
    assert {identity_of(copy, *place, workers) for place in places for workers in (1, 7)} == {want}
    assert identity_of(MIX / "ckpt_mid") != want


def test_it_changes_with_each_marker_and_with_size_and_ends_of_each_file(copy: Path) -> None:
    seen = {identity_of(copy)}
    for marker in sorted(copy.rglob("embedding_dump_done")):
        text = marker.read_text()
        nanos = text.rpartition("nanos_since_epoch: ")[2].strip()
        marker.write_text(text.replace(nanos, str((int(nanos) + 1) % 10**9)))
        now = identity_of(copy)
        assert now not in seen
        seen.add(now)
    for path in sorted(copy.rglob("*.emb")):
        data = path.read_bytes()
        assert len(data) > 200
        for changed in (flipped(data, 0), flipped(data, 63), flipped(data, -1), flipped(data, -64), data[:100] + data[101:]):
            path.write_bytes(changed)
            now = identity_of(copy)
            assert now not in seen
            seen.add(now)
        path.write_bytes(data)


def test_rows_that_are_written_again_with_the_same_datetime_are_another_checkpoint(tmp_path: Path) -> None:
    signs, rows = np.arange(1 << 56, (1 << 56) + 400, dtype=np.uint64), np.ones((400, 8), np.float32)
    moment = datetime(2026, 1, 1, tzinfo=timezone.utc)
    seen = set()
    for value in (1, 2):
        rows[200] = value  # in the middle of a file, where identify() reads nothing
        write_checkpoint(tmp_path, [(signs, rows)], shards=2, files_per_shard=1, datetime=moment, overwrite=True)
        seen |= {identity_of(tmp_path, shard, 2) for shard in range(2)}
    assert len(seen) == 2


def flipped(data: bytes, at: int) -> bytes:
    copy = bytearray(data)
    copy[at] ^= 1
    return bytes(copy)


def test_it_does_not_change_with_the_times_of_files(copy: Path) -> None:
    before = identity_of(copy)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    assert identity_of(copy) == before


def test_where_only_the_own_shard_is_there_the_markers_have_to_do(copy: Path) -> None:
    """As where each machine has a copy of its own shard alone."""
    shards = sorted(path.name for path in copy.glob("s*"))
    assert len(shards) > 1
    whole = identity_of(copy)
    alone = []
    for index, name in enumerate(shards):
        own = Path(shutil.copytree(copy, copy.with_name(f"of_{name}")))
        for other in set(shards) - {name}:
            for path in (own / other).glob("*.emb"):
                path.unlink()
        alone.append(identity_of(own, index, len(shards)))
    assert len({*alone, whole}) == 2 and whole not in alone


def test_a_checkpoint_that_changes_while_it_is_loaded_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the change is in the files of another shard, which this one does not load."""
    checkpoint = write(tmp_path / "ckpt", OLD)

    def load_and_change(opened: Checkpoint, *arguments: object) -> int:
        other = next((checkpoint / "s1").glob("*.emb"))
        other.write_bytes(flipped(other.read_bytes(), -1))
        return 0

    monkeypatch.setattr(starting, "load_checkpoint", load_and_change)
    server = ShardServer(ShardOptions(0, 2, checkpoint))
    with pytest.raises(CorruptFile, match="expected a checkpoint that stays as it is"):
        server.load()
    assert not server.ready and server.status().checkpoint_id == 0


def test_loading_says_how_many_rows_the_table_holds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not how many the checkpoint has: with a capacity these are not the same."""
    checkpoint = write(tmp_path / "ckpt", OLD)
    server = ShardServer(ShardOptions(0, 1, checkpoint, capacity=50))
    with caplog.at_level(logging.INFO):
        server.load()
    held = server.status().rows
    server.stop()
    assert held == 50
    said = [record.getMessage() for record in caplog.records]
    assert "loaded 2 of 2 files: the table holds 50 rows, 150 were over the capacity" in said
    status = server.status()
    assert f"the table holds 50 of the 200 rows that this shard has in checkpoint {checkpoint_name(status.checkpoint_id)}" in (
        " ".join(said)
    )


def test_how_it_is_written() -> None:
    assert checkpoint_name(10) == "000000000000000a"
    assert checkpoint_text(0, 0) == "none"
    assert checkpoint_text(10, 1_795_158_487) == "000000000000000a (2026-11-20 07:08:07 UTC)"
    assert checkpoint_text(10, 10**18) == f"000000000000000a (second {10**18})"
