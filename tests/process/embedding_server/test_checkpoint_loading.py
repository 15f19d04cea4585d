"""Loading a checkpoint: what is wrong with one is named, and nothing of it serves."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from datetime import datetime as DateTime
from datetime import timezone
from pathlib import Path

import numpy as np
import pytest

from persia._core import TableBuilder
from persia.embedding_server.loading import load_checkpoint
from persia.errors import CorruptFile
from persia.formats.checkpoint import open_checkpoint
from persia.writers import write_checkpoint
from tests.support.golden import GOLDEN
from tests.support.servers import PATIENCE, EmbeddingServer
from tests.support.written import block

CONFIG = GOLDEN / "mix" / "embedding_config.yml"
SIGNS = list(range(1, 50))
MARKER = "embedding_dump_done"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    directory = tmp_path / "checkpoint"
    write(directory)
    return directory


def write(directory: Path) -> None:
    write_checkpoint(
        directory,
        [block(SIGNS)],
        shards=2,
        files_per_shard=2,
        datetime=DateTime(2026, 1, 1, tzinfo=timezone.utc),
        overwrite=True,
    )


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def marker_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no marker": (lambda c: (c / MARKER).unlink(), f"checkpoint/{MARKER} at byte 0: expected the marker"),
    "no marker of a shard": (lambda c: (c / "s1" / MARKER).unlink(), f"checkpoint/s1/{MARKER} at byte 0: expected the marker"),
    "a marker that is a directory": (lambda c: marker_directory(c / MARKER), f"Is a directory: '{{}}/{MARKER}'"),
    "a marker that is cut": (
        lambda c: os.truncate(c / "s0" / MARKER, 20),
        f"checkpoint/s0/{MARKER} at byte 0: expected num_shards",
    ),
    "a shard that is missing": (lambda c: shutil.rmtree(c / "s1"), "expected the shards s0, s1"),
    "a shard that is too much": (lambda c: (c / "s2").mkdir(), "got s0, s1, s2"),
    "a file that is missing": (lambda c: (c / "s1/replica_1_shard_1.emb").unlink(), "replica_1_shard_1.emb is missing"),
    "a file that is too much": (lambda c: (c / "s1/replica_1_shard_2.emb").touch(), "replica_1_shard_2.emb is too much"),
    "a file that is empty": (lambda c: os.truncate(c / "s1/replica_1_shard_1.emb", 0), "replica_1_shard_1.emb at byte 0"),
    "a file that is cut": (lambda c: os.truncate(c / "s1/replica_1_shard_1.emb", 99), "replica_1_shard_1.emb at byte "),
    "a file that is a pipe": (
        lambda c: pipe(c / "s1/replica_1_shard_1.emb"),
        "replica_1_shard_1.emb at byte 0: expected a file",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_the_server_with_its_name(tmp_path: Path, checkpoint: Path, mistake: str) -> None:
    spoil, message = MISTAKES[mistake]
    spoil(checkpoint)
    server = EmbeddingServer(tmp_path, CONFIG, checkpoint=checkpoint)
    assert server.process.wait(PATIENCE) == 1
    assert message.format(checkpoint) in server.log().splitlines()[-1]
    assert "serving version" not in server.log()


def test_no_directory_is_a_mistake_in_the_config(tmp_path: Path) -> None:
    server = EmbeddingServer(tmp_path, CONFIG, checkpoint=tmp_path / "nowhere")
    assert server.process.wait(PATIENCE) == 2
    assert server.log() == f"embedding-server: expected a checkpoint directory, there is none at {tmp_path}/nowhere\n"


@pytest.mark.parametrize("shards", [1, 2])
def test_a_checkpoint_that_is_written_anew_while_it_is_loaded(checkpoint: Path, shards: int) -> None:
    """Files of two checkpoints in one table would be half of each."""
    opened = open_checkpoint(checkpoint, 0, shards)
    assert load_checkpoint(opened, TableBuilder(), 0, shards, 2) > 0
    write(checkpoint)  # with the same time and the same rows
    with pytest.raises(CorruptFile, match="checkpoint at byte 0: expected a checkpoint that stays as it is"):
        load_checkpoint(opened, TableBuilder(), 0, shards, 2)


def test_half_of_a_new_checkpoint(checkpoint: Path) -> None:
    opened = open_checkpoint(checkpoint, 0, 1)
    (checkpoint / MARKER).unlink()  # as a writer begins
    with pytest.raises(CorruptFile, match="it is incomplete"):
        load_checkpoint(opened, TableBuilder(), 0, 1, 2)


def test_what_is_said_to_be_needed_is_within_the_capacity(tmp_path: Path) -> None:
    rows, capacity = 200_000, 20_000
    write_checkpoint(tmp_path / "checkpoint", [block(range(rows), dim=64)], shards=1)
    settings = {"capacity": capacity}
    with EmbeddingServer(tmp_path, CONFIG, checkpoint=tmp_path / "checkpoint", settings=settings) as server:
        status = server.wait_ready().status()
        said = re.search(r"about (\d+) rows for this shard, about 0.0 GiB; about (\d+) rows are over", server.log())
        assert said is not None
        assert (int(said[1]), int(said[2])) == (capacity, rows - capacity)
        assert status.rows == capacity
        assert status.bytes < 2 * capacity * (64 * 4 + 8)


def test_rows_of_any_number_of_shards(checkpoint: Path) -> None:
    for count in (1, 2, 3):
        builders = [TableBuilder() for _ in range(count)]
        kept = [
            load_checkpoint(open_checkpoint(checkpoint, i, count), builder, i, count, 4) for i, builder in enumerate(builders)
        ]
        assert kept == [builder.rows for builder in builders]
        assert sum(kept) == len(np.unique(SIGNS))
