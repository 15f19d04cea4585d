"""Which packets a checkpoint has: by the marker of the training shard that they come from, not by the root's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from persia import _core
from persia.embedding_server.updates.journal import Entry, Journal, State, read_journal
from persia.embedding_server.updates.pruning import Pruner
from persia.formats.bounds import Bounds
from persia.formats.checkpoint import open_checkpoint
from persia.formats.layout import CHECKPOINT_MARKER as MARKER
from persia.formats.layout import training_shard_of
from persia.formats.marker import Marker
from persia.writers import write_checkpoint
from tests.support.epoch_followers import EpochFollower
from tests.support.golden import GOLDEN
from tests.support.old_packets import BEFORE, PAST, left, write_old
from tests.support.persia_packets import CONFIG, START, Follower, finish, values, write_packet
from tests.support.servers import EmbeddingServer
from tests.support.written import block

Row = npt.NDArray[np.float32]


def rows_in(reader: _core.EmbReader | _core.IncReader) -> dict[int, Row]:
    rows: dict[int, Row] = {}
    for signs, dims, numbers, _ in reader:
        rows |= zip(signs.tolist(), np.split(numbers, np.cumsum(dims)[:-1]), strict=True)
    return rows


@pytest.mark.parametrize(("model", "applied"), [("ctr", 4), ("mix", 8)])
@pytest.mark.parametrize("shards", [1, 2])
def test_golden_packets_of_the_time_of_the_dump_are_applied(tmp_path: Path, model: str, applied: int, shards: int) -> None:
    """Persia wrote the root's marker 10 s after the shards', and packets in between: each row is its newest packet's."""
    checkpoint, packets = GOLDEN / model / "ckpt_mid", GOLDEN / model / "inc"
    expected: dict[int, Row] = {}
    for path in checkpoint.glob("s*/*.emb"):
        expected |= rows_in(_core.EmbReader(path))
    newest: dict[int, Row] = {}
    for path in sorted(packets.glob("s*/inc_*/*.inc"), key=lambda path: (path.parent.name, path.name)):
        newest |= rows_in(_core.IncReader(path))
    assert sum(not np.array_equal(expected.get(sign, 0), row) for sign, row in newest.items()) > 500
    expected |= newest
    copy = tmp_path / "packets"
    shutil.copytree(packets, copy)
    index = shards - 1
    config = GOLDEN / model / "embedding_config.yml"
    with EmbeddingServer(tmp_path, config, checkpoint=checkpoint, incremental_dir=copy, index=index, count=shards) as server:
        server.wait_ready()
        assert server.status().packets_applied == applied
        for dim in {len(row) for row in expected.values()}:
            of_dim = {sign: row for sign, row in expected.items() if len(row) == dim}
            signs = np.array(list(of_dim), np.uint64)
            signs = signs[_core.shard_of(signs, shards) == index]
            got, _ = server.rows(signs, dim)
            np.testing.assert_array_equal(got, np.stack([of_dim[int(sign)] for sign in signs]))


def mark(directory: Path, shards: int, seconds: int, *, files_at: list[float] | None = None) -> None:
    """The marker of a shard. files_at: when each of its files was written, and the marker; else they are copies."""
    marker = Marker(shards, 2, seconds, 500_000_000)
    (directory / MARKER).write_bytes(marker.to_bytes())
    if files_at is not None:
        for path, moment in zip([*sorted(directory.glob("*.emb")), directory / MARKER], files_at, strict=True):
            os.utime(path, (moment, moment))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Of two training shards, of START + 10 and START + 20, and a root marker of START + 30."""
    directory = tmp_path / "checkpoint"
    write_checkpoint(directory, [block(range(1, 100), 0.5, 8)], shards=2, files_per_shard=2)
    for shard, seconds in enumerate((START + 10, START + 20)):
        mark(directory / f"s{shard}", 2, seconds)
    mark(directory, 2, START + 30)
    return directory


def test_a_packet_of_the_markers_second_is_applied_and_one_of_the_second_before_is_not(
    tmp_path: Path, checkpoint: Path
) -> None:
    packets = tmp_path / "packets"
    sign = iter(range(1, 100))
    expected = {}
    for shard, bound in ((0, 10), (1, 20), (2, 10)):  # a third training shard: the trainer has another number now
        for second in (bound - 1, bound):
            finish(write_packet(packets, second, [k := next(sign)], 2.0 + k, shard=shard))
            expected[k] = 2.0 + k if second >= bound else 0.5
    with EmbeddingServer(tmp_path, CONFIG, checkpoint=checkpoint, incremental_dir=packets) as server:
        server.wait_ready()
        assert values(server, list(expected)) == list(expected.values())
    (journal,) = packets.glob(".applied/*.jsonl")
    states = [line for line in read_journal(journal) if isinstance(line, State)]
    assert states[-1] == State("running", START + 10, (START + 10, START + 20))


@pytest.mark.parametrize(
    ("files_at", "bound"),
    [
        (
            [START + 4.9, START + 7, START + 11],
            START + 4,
        ),  # the marker's file is of the marker's time: files tell when rows were read
        ([START + 7, START + 4.9, START + 8.6], START + 4),
        ([START + 10.2, START + 10.4, START + 10.5], START + 10),
        ([START + 4, START + 7, START + 12.6], START + 10),  # a copy
        ([START + 4, START + 7, START + 8.4], START + 10),
        ([START + 4, START + 10.6, START + 10.5], START + 10),  # a file that is newer than the marker
    ],
)
def test_the_age_of_files_counts_where_it_is_that_of_the_dump(checkpoint: Path, files_at: list[float], bound: int) -> None:
    mark(checkpoint / "s0", 2, START + 10, files_at=files_at)
    assert open_checkpoint(checkpoint, 0, 2).bounds == Bounds(bound, (bound, START + 20))
    assert open_checkpoint(checkpoint, 1, 2).bounds == open_checkpoint(checkpoint, 0, 5).bounds  # all servers come to the same


def test_pruning_goes_by_the_same_bounds(tmp_path: Path) -> None:
    packets = tmp_path / "packets"
    for second in (1, 2, 3, 4):
        write_old(packets, second, [second], float(second))
    other = write_packet(packets, 0, [9], 9.0, shard=1)
    finish(other)
    bounds = Bounds(PAST + 3, (PAST + 3, START + 1))
    follower = Follower(packets, bounds, Pruner(packets, 1, BEFORE, lambda: Bounds(PAST + 4, (PAST + 4, START + 1))))
    assert not follower.updater.prune()
    assert left(packets) == [3, 4]  # 3 is in the checkpoint on disk, but not in the one that was loaded
    assert not other.exists()


def test_a_packet_of_the_time_of_the_dump_that_is_gone_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    packets = tmp_path / "packets"
    for shard in (0, 1):
        finish(write_packet(packets, 5, [1 + shard], 1.0, shard=shard))
    Follower(packets)
    for _ in range(2):  # compacting the journal keeps it
        for shard in (0, 1):
            shutil.rmtree(packets / f"s{shard}", ignore_errors=True)
        caplog.clear()
        Follower(packets, Bounds(START + 5, (START + 5, START + 6)))
        assert [record.message.split()[1] for record in caplog.records] == ["s0/inc_20260101000005"]


def test_journals_of_before_are_read(tmp_path: Path) -> None:
    """They have one time for all, and whoever reads ours as they were read finds the earliest there."""
    path = tmp_path / ".applied" / "replica_0_of_1.jsonl"
    path.parent.mkdir()
    path.write_text('{"server":"running","since":7}\n')
    (state,) = read_journal(path)
    assert isinstance(state, State) and state.bounds == Bounds(7)
    journal = Journal(path)
    journal.say(State.with_bounds("running", Bounds(7, (7, 7))))
    journal.say(State.with_bounds("running", Bounds(7, (9, 7))))
    journal.append(Entry("s0/inc_1", 8, ["0_0.inc"], 1, 1))
    lines = path.read_text().splitlines()
    assert lines[1:3] == ['{"server":"running","since":7}', '{"server":"running","since":7,"shards":[9,7]}']


def test_the_training_shard_stands_in_a_packets_name() -> None:
    assert training_shard_of("s12/inc_20260101000005") == 12
    assert not Bounds(5, (9,)).has(training_shard_of("elsewhere"), 6)


@pytest.mark.parametrize("epochs", [False, True])
def test_a_packet_that_comes_with_a_time_before_the_checkpoint_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, epochs: bool
) -> None:
    """A trainer that was started again on a machine whose clock is behind writes such packets, and none of their rows count."""
    finish(write_packet(tmp_path, 1, [1], 1.0))
    scan = EpochFollower(tmp_path, 60).start().scan if epochs else Follower(tmp_path, START + 60).scan
    assert "is behind" not in caplog.text  # what lay there before may well be in the checkpoint
    finish(write_packet(tmp_path, 2, [1], 2.0))
    scan()
    scan()
    assert caplog.text.count("the clock of its trainer is behind") == 1
    assert "packet s0/inc_20260101000002 came while this server served" in caplog.text
