"""Checkpoint and packet files against golden files, against bytes written by hand, and against noise."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persia._core import EmbReader, IncReader, summarize_emb, write_emb, write_inc
from persia.errors import CorruptFile, InvalidInput
from persia.signs import shard_of
from tests.support.examples import examples
from tests.support.golden import golden
from tests.support.limits import memory_budget
from tests.support.reference import Row, read_emb, read_inc

GOLDEN_EMB, GOLDEN_INC = golden("*.emb"), golden("*.inc")


def le(fields: str, *values: Any) -> bytes:
    return struct.pack("<" + fields, *values)


# Two rows, of which the second is the least recently used, around an empty node.
EMB_BY_HAND = b"".join(
    [
        le("QIIIII", 2, 3, 1, 2, 3, 3),  # rows, first, last, free, end, nodes
        le("IIB", 0, 3, 1) + le("I2fQQ", 2, 0.5, 9.0, 1, 7),  # one value, one float of optimizer state, sign 7
        le("IIB", 0, 1, 0),
        le("IIB", 1, 0, 1) + le("I2fQQ", 2, 1.5, 2.5, 2, 2**64 - 1),
    ]
)
INC_BY_HAND = le("I", 2) + le("I2fQQ", 2, 0.5, 9.0, 1, 7) + le("IfQQ", 1, 4.0, 1, 8) + le("Q", 1_700_000_000)


def rows_of(reader: EmbReader | IncReader) -> list[tuple[int, bytes]]:
    rows = []
    for signs, dims, values, _ in reader:
        assert signs.dtype == np.uint64 and values.dtype == np.float32 and len(values) == int(dims.sum())
        parts = np.split(values, np.cumsum(dims)[:-1])
        rows += [(int(sign), part.tobytes()) for sign, part in zip(signs, parts, strict=True)]
    return rows


def embeddings(rows: list[Row]) -> list[tuple[int, bytes]]:
    return [(row.sign, row.values[: 4 * row.dim]) for row in rows]


def recency_of(path: Path) -> dict[int, int]:
    return {
        int(s): int(r) for signs, _, _, recency in EmbReader(path, recency=True) for s, r in zip(signs, recency, strict=True)
    }


def test_reads_a_checkpoint_file_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "x.emb"
    path.write_bytes(EMB_BY_HAND)
    reader = EmbReader(path)
    assert (reader.rows, reader.nodes, reader.path) == (2, 3, str(path))
    assert rows_of(reader) == [(7, le("f", 0.5)), (2**64 - 1, le("2f", 1.5, 2.5))]
    assert rows_of(reader) == []
    assert recency_of(path) == {2**64 - 1: 0, 7: 2}
    assert summarize_emb(path) == {"rows": 2, "rows_by_dim": {1: 1, 2: 1}}


def test_writes_a_checkpoint_file_as_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "x.emb"
    write_emb(
        path, [(np.array([7], np.uint64), np.array([[0.5]], np.float32)), (np.array([8], np.uint64), np.ones((1, 2), "f"))]
    )
    assert path.read_bytes() == b"".join(
        [
            le("QIIIII", 2, 1, 2, 0, 2, 2),
            le("IIB", 2, 0, 1) + le("IfQQ", 1, 0.5, 1, 7),
            le("IIB", 0, 1, 1) + le("I2fQQ", 2, 1.0, 1.0, 2, 8),
        ]
    )
    assert os.listdir(tmp_path) == ["x.emb"]


def test_reads_a_packet_file_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "0_0.inc"
    path.write_bytes(INC_BY_HAND)
    reader = IncReader(path)
    assert (reader.rows, reader.unix_seconds, reader.path) == (2, 0, str(path))
    assert rows_of(reader) == [(7, le("f", 0.5)), (8, le("f", 4.0))]
    assert reader.unix_seconds == 1_700_000_000


def test_writes_a_packet_file_as_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "0_0.inc"
    write_inc(path, [(np.array([7, 9], np.uint64), np.array([[0.5, 1], [2, 3]], np.float32))], 123)
    assert path.read_bytes() == le("I", 2) + le("I2fQQ", 2, 0.5, 1, 2, 7) + le("I2fQQ", 2, 2, 3, 2, 9) + le("Q", 123)


@pytest.mark.parametrize("path", GOLDEN_EMB, ids=lambda path: "-".join(path.parts[-4:]))
def test_golden_checkpoint_files(path: Path, tmp_path: Path) -> None:
    rows, order = read_emb(path.read_bytes())
    read = rows_of(EmbReader(path))
    assert read == embeddings(rows)
    place = {sign: k for k, sign in enumerate(order)}
    assert recency_of(path) == {row.sign: place[row.sign] * 4 // len(rows) for row in rows}
    assert summarize_emb(path)["rows"] == len(rows)
    blocks = [(np.array([sign], np.uint64), np.frombuffer(values, np.float32)[None]) for sign, values in read]
    write_emb(tmp_path / "again.emb", blocks)
    assert embeddings(read_emb((tmp_path / "again.emb").read_bytes())[0]) == read


@pytest.mark.parametrize("path", GOLDEN_INC, ids=lambda path: "-".join(path.parts[-4:]))
def test_golden_packet_files(path: Path) -> None:
    rows, unix_seconds = read_inc(path.read_bytes())
    reader = IncReader(path)
    assert rows_of(reader) == embeddings(rows) and reader.unix_seconds == unix_seconds


blocks = st.lists(
    st.integers(1, 4).flatmap(
        lambda dim: st.lists(
            st.tuples(st.integers(0, 2**64 - 1), st.lists(st.floats(width=32), min_size=dim, max_size=dim)), max_size=4
        ).map(
            lambda rows: (
                np.array([sign for sign, _ in rows], np.uint64),
                np.array([values for _, values in rows], np.float32).reshape(len(rows), dim),
            )
        )
    ),
    max_size=4,
)


@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blocks=blocks, seconds=st.integers(0, 2**64 - 1))
def test_round_trip(blocks: list[tuple[np.ndarray, np.ndarray]], seconds: int, tmp_path: Path) -> None:
    expected = [(int(sign), row.tobytes()) for signs, rows in blocks for sign, row in zip(signs, rows, strict=True)]
    emb, inc = tmp_path / "x.emb", tmp_path / "x.inc"
    write_emb(emb, blocks)
    write_inc(inc, blocks, seconds)
    assert rows_of(EmbReader(emb)) == expected == embeddings(read_emb(emb.read_bytes())[0])
    reader = IncReader(inc)
    assert rows_of(reader) == expected and reader.unix_seconds == seconds


def test_many_blocks(tmp_path: Path) -> None:
    signs = np.arange(20_000, dtype=np.uint64)
    write_emb(tmp_path / "x.emb", [(signs, np.repeat(signs[:, None], 16, 1).astype(np.float32))])
    read = list(EmbReader(tmp_path / "x.emb"))
    assert len(read) > 3 and max(len(signs) for signs, *_ in read) <= 4096
    assert np.array_equal(np.concatenate([block[0] for block in read]), signs)
    assert np.array_equal(np.concatenate([block[2] for block in read])[::16], signs.astype(np.float32))


def test_a_sample_tells_what_a_shard_will_have_of_a_file(tmp_path: Path) -> None:
    signs = np.arange(1000, dtype=np.uint64)
    dims = (2, 6)
    write_emb(tmp_path / "x.emb", [(signs[k::2].copy(), np.zeros((500, dim), np.float32)) for k, dim in enumerate(dims)])
    own = shard_of(signs, 3) == 1
    counts = [int(own[k::2].sum()) for k in (0, 1)]
    mean = sum(count * dim for count, dim in zip(counts, dims, strict=True)) / sum(counts)
    reader = EmbReader(tmp_path / "x.emb")
    assert reader.sample(1, 3) == pytest.approx((own.mean(), mean))
    assert reader.sample(1, 3) == (0, 0)
    with pytest.raises(InvalidInput, match="expected a shard index below the shard count 0, got 0"):
        reader.sample(0, 0)


def test_errors_name_file_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "x.emb"
    path.write_bytes(EMB_BY_HAND + b"!")
    with pytest.raises(CorruptFile, match="expected the end of the file, got 1 more bytes") as caught:
        list(EmbReader(path))
    assert (caught.value.file, caught.value.byte) == (str(path), len(EMB_BY_HAND))
    assert caught.value.code == "DATA_LOSS" and str(path) in str(caught.value)
    with pytest.raises(FileNotFoundError) as missing:
        EmbReader(tmp_path / "none.emb")
    assert missing.value.filename == str(tmp_path / "none.emb")
    with pytest.raises(IsADirectoryError):
        IncReader(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Invalid argument"):  # and no waiting for somebody who writes
        IncReader(tmp_path / "pipe")


@pytest.mark.parametrize(("raw", "reader"), [(EMB_BY_HAND, EmbReader), (INC_BY_HAND, IncReader)])
def test_an_error_at_the_end_stays_one(raw: bytes, reader: type[EmbReader | IncReader], tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(raw + bytes(8))
    rows = iter(reader(path))
    next(rows)
    for _ in range(3):
        with pytest.raises(CorruptFile, match="expected the end of the file, got 8 more bytes") as caught:
            next(rows)
        assert caught.value.byte == len(raw)


def test_a_temporary_file_that_was_left_behind_is_in_nobodys_way(tmp_path: Path) -> None:
    # In a process of its own, whose first temporary name is known.
    code = f"""
import os
from persia._core import write_inc
os.chdir({str(tmp_path)!r})
open(f".x.inc.{{os.getpid()}}-0.tmp", "x").close()
write_inc("x.inc", [], 5)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert IncReader(tmp_path / "x.inc").rows == 0


def test_writers_check_shapes_and_leave_nothing(tmp_path: Path) -> None:
    signs, rows = np.zeros(2, np.uint64), np.zeros((2, 3), np.float32)
    for wrong in (
        [(signs.astype(np.int64), rows)],
        [(signs, rows.astype(np.float64))],
        [(signs, rows[:1])],
        [(signs, rows[:, ::2])],
        [(signs, np.zeros((2, 0), np.float32))],
        [(signs, rows, rows)],
        [[signs, rows]],
        [signs],
    ):
        with pytest.raises(InvalidInput):
            write_emb(tmp_path / "x.emb", wrong)  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


def test_a_length_is_not_believed_before_its_bytes_are_there(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with memory_budget(megabytes=256):
        for raw, reader in ((EMB_BY_HAND, EmbReader), (INC_BY_HAND, IncReader)):
            for at in range(len(raw) - 3):
                path.write_bytes(raw[:at] + b"\xff\xff\xff\x7f" + raw[at + 4 :])
                try:
                    rows_of(reader(path))
                except CorruptFile as error:
                    assert 0 <= error.byte <= len(raw)


@pytest.mark.parametrize(
    ("reader", "seeds"),
    [(EmbReader, [EMB_BY_HAND, GOLDEN_EMB[0].read_bytes()]), (IncReader, [INC_BY_HAND, GOLDEN_INC[2].read_bytes()])],
)
def test_noise_ends_in_rows_or_a_corrupt_file(reader: type[EmbReader | IncReader], seeds: list[bytes], tmp_path: Path) -> None:
    source = random.Random(12)
    outcomes = {"accepted": 0, "refused": 0}
    path = tmp_path / "x"
    for _ in range(600):
        raw = bytearray(source.choice(seeds))
        for _ in range(source.randint(1, 3)):
            raw[source.randrange(len(raw))] = source.randrange(256)
        raw = raw[: source.choice([len(raw), len(raw), source.randrange(len(raw) + 1)])]
        path.write_bytes(raw)
        try:
            rows_of(reader(path))
            outcomes["accepted"] += 1
        except CorruptFile as error:
            assert 0 <= error.byte <= len(raw) and error.expected and error.got
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20
