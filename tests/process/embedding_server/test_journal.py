"""The journal of applied packets: what a crash, a full disk or a disk that comes later leave of it, and what is refused."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from persia.embedding_server.updates.journal import Entry, Journal, State, read_journal
from persia.errors import CorruptFile
from tests.support.persia_packets import CONFIG, START, Follower, finish, write_packet
from tests.support.places import ROOT
from tests.support.servers import EmbeddingServer

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


def test_a_restart_leaves_one_line_a_packet(path: Path) -> None:
    """However often a server starts, the journal is no longer than its packets are many."""
    packets = path.parent.parent
    for second in (1, 2, 3):
        finish(write_packet(packets, second, [second], 1.0))
    sizes = set()
    for _ in range(4):
        follower = Follower(packets)
        sizes.add(path.stat().st_size)
        assert [line.packet for line in read_journal(path) if isinstance(line, Entry)] == follower.packets
    assert len(sizes) == 1


def test_packets_that_are_gone_are_named_by_every_restart_until_a_checkpoint_has_them(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    packets = path.parent.parent
    for second in range(1, 7):
        finish(write_packet(packets, second, [second], 1.0))
    Follower(packets)
    for second in range(1, 6):
        shutil.rmtree(packets / "s0" / f"inc_2026010100000{second}")

    def named(since: int = 0) -> list[int]:
        caplog.clear()
        Follower(packets, since, gone_kept=3)
        return [
            int(match[1]) for record in caplog.records if (match := re.search(r"(\d) was applied.*is gone", record.message))
        ]

    assert named() == [1, 2, 3, 4, 5]
    assert named() == named() == [3, 4, 5]  # those that are kept
    assert named(START + 4) == [4, 5]
    assert named(START + 6) == []
    assert [line.packet[-1] for line in read_journal(path) if isinstance(line, Entry)] == ["6"]


# A step is whatever compact() does to the file system.
KILLED = """
import os, signal, sys
from pathlib import Path
from persia.embedding_server.updates.journal import Journal
left = int(sys.argv[2])

def step(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

fsync = os.fsync
os.fsync = lambda file: (step(), fsync(file))
journal = Journal(Path(sys.argv[1]))
sys.addaudithook(lambda event, args: step() if event in ("open", "os.rename", "os.remove") else None)
journal.compact({"s0/inc_20260101000001", "s0/inc_20260101000002"})
"""


def test_a_kill_at_any_step_of_compacting(path: Path) -> None:
    """The old lines or the new ones, never a part; and nothing is left behind for good."""
    for steps in itertools.count(1):
        shutil.rmtree(path.parent, ignore_errors=True)
        journal = Journal(path)
        for entry in (FIRST, SECOND, FIRST, SECOND):
            journal.append(entry)
        run = subprocess.run([sys.executable, "-c", KILLED, str(path), str(steps)], cwd=ROOT)
        assert Journal(path).entries in ([FIRST, SECOND, FIRST, SECOND], [FIRST, SECOND])
        journal.append(THIRD)
        journal.append(THIRD)
        journal.compact({THIRD.packet})
        assert Journal(path).entries == [FIRST, SECOND, THIRD]
        assert [file.name for file in path.parent.iterdir()] == [path.name]
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL
    assert steps > 4


def test_entries_of_an_earlier_run_are_not_those_of_this_one(path: Path) -> None:
    """Compacting keeps what was applied before the last start apart: others delete packets by it."""
    journal = Journal(path)
    journal.say(State("running", 1))
    journal.append(FIRST)
    journal.append(SECOND)
    journal.say(State("running", 2))
    journal.append(SECOND)
    journal.append(THIRD)
    journal.append(THIRD)
    journal.compact({FIRST.packet, THIRD.packet})
    assert list(read_journal(path)) == [SECOND, FIRST, State("running", 2), THIRD]


def test_what_the_server_does_is_said_again_in_a_new_directory(path: Path) -> None:
    """A disk that is mounted after the start, or a directory that is made anew."""
    journal = Journal(path)
    root = path.parent.parent
    shutil.rmtree(root)
    journal.say(State("running", 7))
    for _ in range(2):
        root.mkdir()
        journal.append(FIRST)
        assert list(read_journal(path)) == [State("running", 7), FIRST]
        shutil.rmtree(root)


def test_what_the_server_does_is_said_in_a_journal_that_comes_into_its_place(path: Path) -> None:
    """Else its packets would be taken for those of the run that wrote the lines before."""
    path.parent.parent.mkdir(exist_ok=True)
    journal = Journal(path, shared=True)
    journal.say(State("running", 7))
    shutil.rmtree(path.parent)
    Journal(path).append(FIRST)
    journal.append(SECOND)
    assert list(read_journal(path)) == [FIRST, State("running", 7), SECOND]
    path.write_text('{"packet":"s0')  # nothing but half a line
    journal.append(THIRD)
    assert list(read_journal(path)) == [State("running", 7), THIRD]
    journal.close()


def test_a_new_file_is_in_its_directory_when_the_first_line_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("persia.embedding_server.updates.journal.sync_directory", synced.append)
    journal = Journal(path)
    journal.append(FIRST)
    assert synced == [path.parent.parent, path.parent]
    journal.append(SECOND)
    assert len(synced) == 2


def test_replicas_of_a_shard_each_have_a_journal(path: Path) -> None:
    """With one for both, each would cut off lines that the other is writing, and claim what only the other has."""
    journals = [Journal(path, shared=True) for _ in range(3)]
    names = ["replica_0_of_1.jsonl", "replica_0_of_1.2.jsonl", "replica_0_of_1.3.jsonl"]
    assert [journal.path.name for journal in journals] == names
    for journal, entry in zip(journals, (FIRST, SECOND, THIRD), strict=True):
        journal.append(entry)
    journals[1].close()
    again = Journal(path, shared=True)
    assert (again.path.name, again.entries) == (names[1], [SECOND])
    shutil.rmtree(path.parent)  # as if another disk were mounted
    for journal in (again, journals[2], journals[0]):
        journal.say(State("running"))
    assert [journal.path.name for journal in (again, journals[2], journals[0])] == names
    for journal in (again, *journals):
        journal.close()


def test_replicas_of_a_shard_that_share_packets(tmp_path: Path) -> None:
    packets = tmp_path / "packets"
    finish(write_packet(packets, 1, [1], 1.0))
    servers = [EmbeddingServer(tmp_path / name, CONFIG, incremental_dir=packets) for name in "ab"]
    try:
        for server in servers:
            server.wait_ready()
        assert sorted(path.name for path in packets.glob(".applied/*.jsonl")) == [
            "replica_0_of_1.2.jsonl",
            "replica_0_of_1.jsonl",
        ]
        assert servers[0].terminate() == 0
        journals = [list(read_journal(path))[-1] for path in packets.glob(".applied/*.jsonl")]
        assert sum(line == State("stopped") for line in journals) == 1
        servers[0].start()
        servers[0].wait_ready()
        assert len(list(packets.glob(".applied/*.jsonl"))) == 2
    finally:
        for server in servers:
            server.kill()


def test_a_disk_without_locks(path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    path.parent.parent.mkdir(exist_ok=True)
    monkeypatch.setattr(fcntl, "flock", refuse)
    journal = Journal(path, shared=True)
    for _ in range(2):
        journal.append(FIRST)
    assert Journal(path).entries == [FIRST, FIRST]
    assert sum("no locks" in record.message for record in caplog.records) == 1
    journal.close()


def _grant(*_: object) -> None:
    """As file systems do whose locks hold within one machine alone."""


def _refuse(*_: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize("flock", [_grant, _refuse], ids=["each machine has locks of its own", "no locks"])
def test_replicas_on_machines_that_do_not_see_each_others_locks(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, flock: Callable[..., None]
) -> None:
    monkeypatch.setattr(fcntl, "flock", flock)
    path.parent.parent.mkdir(exist_ok=True)
    names = [path, path.with_suffix(".2.jsonl"), path.with_suffix(".3.jsonl")]
    journals = [Journal(path, shared=True) for _ in range(3)]
    for journal in journals:
        journal.say(State("running"))
    for _ in range(3):
        for journal, entry in zip(journals, (FIRST, SECOND, THIRD), strict=True):
            journal.append(entry)
    assert journals[2].path == path and sorted(journal.path for journal in journals) == sorted(names)
    for journal, entry in zip(journals, (FIRST, SECOND, THIRD), strict=True):
        lines = list(read_journal(journal.path))
        begin = max(i for i, line in enumerate(lines) if isinstance(line, State))
        # It claims what it has, and nothing that only another one has.
        assert [line for line in lines[begin + 1 :] if line != entry] == []
        journal.close()
    assert "takes the next journal" in caplog.text
    again = Journal(path, shared=True)  # after a restart
    assert again.path == path and again.entries == [THIRD] * 3
    again.close()
