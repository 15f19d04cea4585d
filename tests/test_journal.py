"""The journal of applied packets: what a crash, a full disk or a disk that comes later leave of it, and what is refused."""

from __future__ import annotations

import json
import os
import resource
import shutil
from pathlib import Path

import pytest
from persia_packets import Follower, finish, write_packet

from embedding_server.journal import Entry, Journal
from persia.errors import CorruptFile

FIRST, SECOND, THIRD = (Entry(f"s0/inc_2026010100000{k}", k, ["0_0.inc"], k, k) for k in range(1, 4))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".applied" / "replica_0_of_1.jsonl"


def test_a_crash_at_any_byte(path: Path) -> None:
    """Whatever is left of the last line, the next run reads the lines before it and appends its own."""
    Journal(path).append(FIRST)
    begin = path.stat().st_size
    Journal(path).append(SECOND)
    whole = path.read_bytes()
    for end in range(begin, len(whole)):
        path.write_bytes(whole[:end])
        journal = Journal(path)
        assert journal.entries == [FIRST]
        journal.append(THIRD)
        assert Journal(path).entries == [FIRST, THIRD]


def test_half_a_line_on_a_disk_that_is_mounted_later(path: Path) -> None:
    journal = Journal(path)
    path.parent.mkdir()
    path.write_text('{"packet":"s0/inc_1","fi')
    journal.append(FIRST)
    assert Journal(path).entries == [FIRST]


def test_a_full_disk_leaves_no_half_line_behind(path: Path) -> None:
    journal = Journal(path)
    journal.append(FIRST)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            journal.append(SECOND)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    journal.append(THIRD)
    assert Journal(path).entries == [FIRST, THIRD]


def test_a_directory_that_is_deleted_and_made_again(path: Path) -> None:
    journal = Journal(path)
    journal.append(FIRST)
    shutil.rmtree(path.parent)
    journal.append(SECOND)
    assert Journal(path).entries == [SECOND]


@pytest.mark.parametrize(
    "line", ["{}", "[]", "nothing", '{"packet":1}', '{"packet":"p","seconds":1,"files":"f","rows":1,"version":1}']
)
def test_a_damaged_line_is_named(path: Path, line: str) -> None:
    Journal(path).append(FIRST)
    size = path.stat().st_size
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(CorruptFile, match=f"replica_0_of_1.jsonl at byte {size}: expected a line of JSON about a packet"):
        Journal(path)


def test_names_that_are_no_text(tmp_path: Path, path: Path) -> None:
    directory = write_packet(tmp_path, 1, [1], 1.0)
    os.rename(directory / "0_0.inc", os.fsencode(directory) + b"/0_\xff.inc")
    finish(directory)
    assert Follower(tmp_path).values([1]) == [1]
    assert json.loads(path.read_bytes().splitlines()[-1])["files"] == ["0_\udcff.inc"]
    assert Follower(tmp_path).values([1]) == [1]
