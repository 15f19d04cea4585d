"""write_checkpoint: where rows go, in which order, and what it leaves in a directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime as DateTime
from datetime import timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persia._core import EmbReader, TableBuilder
from persia.embedding_server.tools.inspection import inspect_checkpoint
from persia.errors import CorruptFile, InvalidInput
from persia.formats.marker import read_marker
from persia.signs import shard_of
from persia.writers import buckets, checkpoint, write_checkpoint
from tests.support.examples import examples
from tests.support.golden import GOLDEN, golden
from tests.support.written import Block, block, read_checkpoint, read_rows, rows_of, temporaries_in


def names_in(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_the_files_of_a_checkpoint(tmp_path: Path) -> None:
    moment = DateTime(2026, 11, 20, 7, 8, 20, 643388, timezone.utc)
    write_checkpoint(tmp_path / "a" / "b", [block([1, 2, 3])], shards=2, files_per_shard=2, datetime=moment)
    files = [f"s{i}/replica_{i}_shard_{k}.emb" for i in range(2) for k in range(2)]
    markers = ["embedding_dump_done", "s0/embedding_dump_done", "s1/embedding_dump_done"]
    assert names_in(tmp_path / "a" / "b") == sorted([*files, *markers, "checkpoint_id"])
    for marker in markers:
        assert (tmp_path / "a" / "b" / marker).read_bytes() == (
            b"---\nnum_shards: 2\nnum_internal_shards: 2\n"
            b"datetime:\n  secs_since_epoch: 1795158500\n  nanos_since_epoch: 643388000\n\n"
        )


@pytest.mark.parametrize("path", golden("embedding_dump_done"), ids=lambda path: str(path.relative_to(GOLDEN).parent))
def test_markers_are_as_persia_writes_them(path: Path) -> None:
    marker = read_marker(path.parent)
    assert marker and marker.to_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "text", ["", "num_shards: 2\n", "num_shards: x", "---\nnum_shards: 0\nnum_internal_shards: 1\ndatetime:\n  "
             "secs_since_epoch: 1\n  nanos_since_epoch: 2\n"]
)  # fmt: skip
def test_a_broken_marker_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "embedding_dump_done").write_text(text)
    with pytest.raises(CorruptFile, match="embedding_dump_done at byte 0: expected"):
        read_marker(tmp_path)


blocks = st.lists(st.tuples(st.integers(1, 3), st.sets(st.integers(0, 2**64 - 1), max_size=12), st.integers(0, 99)), max_size=6)


@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blocks=blocks, shards=st.integers(1, 3), files=st.integers(1, 3), memory=st.sampled_from([0, 200, 1 << 20]))
def test_round_trip(
    blocks: list[tuple[int, set[int], int]], shards: int, files: int, memory: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("checkpoint")
    seen: set[int] = set()
    arrays: list[Block] = []
    for dim, signs, value in blocks:
        new = np.array(sorted(signs - seen), np.uint64)
        arrays.append((new, (value + np.arange(len(new) * dim)).reshape(-1, dim).astype("f")))
        seen |= signs
    # Beyond the memory rows take the way through the disk.
    write_checkpoint(directory, iter(arrays), shards=shards, files_per_shard=files, memory=memory)
    given = rows_of(arrays)
    assert read_checkpoint(directory) == given
    order = {sign: place for place, sign in enumerate(given)}
    for path in directory.glob("s*/*.emb"):
        found = list(read_rows(EmbReader(path)))
        assert shard_of(np.array(found, np.uint64), shards).tolist() == [int(path.parent.name[1:])] * len(found)
        assert [order[sign] for sign in found] == sorted(order[sign] for sign in found)
    report = inspect_checkpoint(directory)
    assert report.problems == [] and report.rows == len(given)
    assert len(list(directory.iterdir())) == shards + 2  # and not the temporary file


def test_rows_are_spread_over_the_files(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, [block(range(8000))], shards=2, files_per_shard=4)
    assert all(800 < EmbReader(path).rows < 1200 for path in tmp_path.glob("s*/*.emb"))


def test_the_order_of_a_large_block_is_kept(tmp_path: Path) -> None:
    signs = np.random.default_rng(1).permutation(10_000).astype(np.uint64)
    write_checkpoint(tmp_path, [(signs, np.ones((10_000, 1), "f"))], shards=1, files_per_shard=2)
    place = {int(sign): k for k, sign in enumerate(signs)}
    for path in tmp_path.glob("s0/*.emb"):
        places = [place[sign] for sign in read_rows(EmbReader(path))]
        assert places == sorted(places)


def test_rows_from_the_temporary_file_are_aligned(tmp_path: Path) -> None:
    spilled = buckets.Buckets(1, tmp_path, memory=0)
    for sign in range(3):
        signs, rows = block([sign], dim=1)
        spilled.add(np.zeros(1, np.uint64), signs, rows)
    assert all(array.flags.aligned for arrays in spilled.blocks(0) for array in arrays)
    spilled.close()


def test_a_table_loads_it(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, [block(range(1000))], shards=2)
    builder = TableBuilder()
    assert sum(builder.load_emb(path, 1, 2) for path in (tmp_path / "s1").glob("*.emb")) == builder.rows
    assert builder.rows == int((shard_of(np.arange(1000, dtype=np.uint64), 2) == 1).sum())


def test_a_finished_checkpoint_is_not_overwritten_unasked(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, [block([1])], shards=2)
    before = {name: (tmp_path / name).read_bytes() for name in names_in(tmp_path)}
    with pytest.raises(InvalidInput, match="expected a directory without a finished checkpoint, got"):
        write_checkpoint(tmp_path, [block([2])], shards=1)
    assert {name: (tmp_path / name).read_bytes() for name in names_in(tmp_path)} == before


def test_overwriting_leaves_nothing_of_the_old_one_and_all_of_the_rest(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, [block(range(100))], shards=3, files_per_shard=5)
    (tmp_path / "dense.pt").write_text("dense")
    (tmp_path / "s0" / "notes").write_text("notes")
    (tmp_path / "s0" / "another.emb").write_text("")  # a server would load this, too
    write_checkpoint(tmp_path, [block([2])], shards=1, files_per_shard=1, overwrite=True)
    expected = ["checkpoint_id", "dense.pt", "embedding_dump_done", "s0/embedding_dump_done", "s0/notes"]
    expected += ["s0/replica_0_shard_0.emb"]
    assert names_in(tmp_path) == expected and not (tmp_path / "s1").exists()
    assert inspect_checkpoint(tmp_path).problems == []


@pytest.mark.parametrize("name", ["s2/notes", "s7", "s01/notes", "s5/replica_5_shard_0.emb/notes"])
def test_what_would_keep_servers_from_loading_it_is_named_before_anything_is_written(name: str, tmp_path: Path) -> None:
    """Not a shard of the new checkpoint, and not what an earlier one left: nobody but its owner may remove it."""
    write_checkpoint(tmp_path, [block(range(100))], shards=3)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("notes")
    before = names_in(tmp_path)
    with pytest.raises(InvalidInput, match=f"expected a directory without {tmp_path / name.split('/')[0]}, "):
        write_checkpoint(tmp_path, [block([2])], shards=2, overwrite=True)
    assert names_in(tmp_path) == before


def test_the_old_one_stays_until_all_rows_have_come(tmp_path: Path) -> None:
    def rows() -> Iterator[Block]:
        yield block([2])
        raise ZeroDivisionError

    write_checkpoint(tmp_path, [block(range(100))], shards=3)
    with pytest.raises(ZeroDivisionError):
        write_checkpoint(tmp_path, rows(), shards=1, overwrite=True)
    assert inspect_checkpoint(tmp_path).problems == [] and read_checkpoint(tmp_path) == rows_of([block(range(100))])


def test_what_an_unfinished_one_left_is_removed(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, [block(range(100))], shards=2, files_per_shard=3)
    (tmp_path / "embedding_dump_done").unlink()
    (tmp_path / "s0" / ".replica_0_shard_0.emb.12-3.tmp").write_text("")
    write_checkpoint(tmp_path, [block([2])], shards=2, files_per_shard=1)
    assert len(names_in(tmp_path)) == 6 and read_checkpoint(tmp_path) == rows_of([block([2])])


def test_the_root_is_marked_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed: list[str] = []
    replace = os.replace

    def note(source: Any, target: Any) -> None:
        assert len(list(tmp_path.rglob("*.emb"))) == 4  # all are there before the first marker
        renamed.append(str(Path(target).relative_to(tmp_path)))
        replace(source, target)

    monkeypatch.setattr(os, "replace", note)
    write_checkpoint(tmp_path, [block(range(10))], shards=2, files_per_shard=2)
    assert renamed == ["s0/embedding_dump_done", "s1/embedding_dump_done", "checkpoint_id", "embedding_dump_done"]


@pytest.mark.parametrize("step", range(4))
def test_an_error_leaves_no_finished_checkpoint(step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_at(name: str, owner: Any) -> None:
        real, calls = getattr(owner, name), iter(range(1000))

        def call(*args: Any) -> Any:
            if next(calls) == step:
                raise OSError(5, "Input/output error")
            return real(*args)

        monkeypatch.setattr(owner, name, call)

    for name, owner in (("write_emb", checkpoint), ("fsync", os), ("replace", os)):
        directory = tmp_path / name
        with monkeypatch.context():
            refuse_at(name, owner)
            with pytest.raises(OSError, match="Input/output error"):
                write_checkpoint(directory, [block(range(10))], shards=2, files_per_shard=2)
        monkeypatch.undo()
        assert not (directory / "embedding_dump_done").exists() and temporaries_in(directory) == []


def test_a_sign_that_comes_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"expected each sign once, got 7 twice, for .*\.emb"):
        write_checkpoint(tmp_path, [block([6, 7]), block([7, 8], dim=3)], shards=2)
    assert not (tmp_path / "embedding_dump_done").exists()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"shards": 0}, "1 to 65535 shards, got 0"),
        ({"shards": 1, "files_per_shard": 0}, "1 to 65535 files, got 0"),
        ({"shards": 2048, "files_per_shard": 1024}, "at most 1048576 files, got 2097152"),
        ({"shards": 1, "workers": 0}, "1 to 65535 workers, got 0"),
        ({"shards": 1, "datetime": DateTime(1969, 1, 1, tzinfo=timezone.utc)}, "a datetime from 1970 on, got 1969"),
    ],
)
def test_wrong_numbers_are_refused_before_anything_is_touched(numbers: Any, message: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, [block([1])], shards=1)
    with pytest.raises(InvalidInput, match=message):
        write_checkpoint(tmp_path, [], overwrite=True, **numbers)
    assert inspect_checkpoint(tmp_path).problems == []


def test_wrong_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected a row for each of 1 signs, got 2"):
        write_checkpoint(tmp_path, [(np.zeros(1, np.uint64), np.zeros((2, 1), "f"))], shards=1)
    assert not (tmp_path / "embedding_dump_done").exists()
