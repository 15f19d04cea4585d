"""What may go wrong with epochs, where no other file shows it; the list of all is in docs/epochs.md, and is checked here."""

from __future__ import annotations

import errno
import re
import shutil
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from persia.embedding_server.tools.epochs import epochs as epochs_command
from persia.formats.epoch import Draft, EpochRecord
from persia.formats.epoch_log import EpochLog
from persia.formats.layout import EPOCHS
from persia.writers import EpochCommitter
from tests.support.epoch_followers import EpochFollower
from tests.support.persia_packets import finish, write_packet
from tests.support.places import ROOT
from tests.support.servers import PATIENCE, wait_until
from tests.support.written import die_at_each_step

COMMIT = """
import shutil
from pathlib import Path
from persia.writers import EpochCommitter
for name in ("inc_20260101000001", "inc_20260101000002"):
    shutil.copytree(Path({packets!r}, "s0", name), directory / "s0" / name)
EpochCommitter(directory).commit((directory / "s0").iterdir())
"""


@pytest.fixture
def packets(tmp_path: Path) -> Path:
    root = tmp_path / "packets"
    for second in (1, 2):
        finish(write_packet(root, second, [second], float(second)))
    return root


def test_a_committer_may_die_at_any_step(packets: Path, tmp_path: Path) -> None:
    """An epoch is there whole or not at all, and whoever comes next goes on from there."""
    newest = []
    (tmp_path / "died").mkdir()
    for directory in die_at_each_step(COMMIT.format(packets=str(packets)), tmp_path / "died"):
        log = EpochLog(directory)
        newest.append(log.read())
        assert len(log.history.packets) == (2 if log.newest == 2 else 0) and log.foreign_files() == []
        assert log.commit(Draft(), "operator") is not None
    assert newest == sorted(newest) and set(newest) == {0, 1, 2}


def test_what_a_trainer_left_without_a_record_is_in_no_epoch_and_is_listed(packets: Path) -> None:
    """It died between its packets and its commit: nobody else can know what belongs together."""
    follower = EpochFollower(packets).start()
    EpochCommitter(packets)
    finish(write_packet(packets, 3, [1], 3.0))
    for _ in range(3):
        follower.scan()
    facts = follower.updater.epochs()
    assert follower.values(1, 2) == [1.0, 2.0] and (facts.waiting, facts.held, facts.stalled) == (1, True, "")
    said = CliRunner().invoke(epochs_command, ["log", str(packets)]).output
    assert "1 packets are in no epoch, s0/inc_20260101000003 first" in said
    assert "held: packets wait for somebody to commit them" in said


def test_no_clock_decides_anything(packets: Path) -> None:
    """Records from years ago and years ahead make the same epochs as others."""
    for moment, draft in ((4e9, Draft(hold=True)), (1.0, Draft(hold=False)), (2e9, Draft(revert_to=1))):
        log = EpochLog(packets, lambda moment=moment: moment)  # type: ignore[misc]
        log.read()
        assert log.commit(draft, "operator") is not None
    follower = EpochFollower(packets).start()
    assert follower.epoch == 4 and follower.values(1, 2) == [1.0, 2.0]
    assert [record.unix_ms for record in follower.log.history.records[:3]] == [4_000_000_000_000, 1000, 2_000_000_000_000]


def test_a_full_disk_ends_new_epochs_and_no_lookup(packets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = EpochFollower(packets).start()
    finish(write_packet(packets, 3, [1], 3.0))
    commit = follower.log.commit

    def full(*_: object) -> EpochRecord:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(follower.log, "commit", full)
    assert follower.scan() == 1 and follower.values(1, 2) == [1.0, 2.0]
    problem = f"packets cannot be committed to {packets / EPOCHS}: [Errno 28] No space left on device"
    assert follower.updater.problems.texts() == [problem]
    monkeypatch.setattr(follower.log, "commit", commit)
    assert follower.scan() == 2 and follower.values(1) == [3.0] and follower.updater.problems.texts() == []


def test_when_all_servers_start_anew_the_newest_record_counts_and_there_is_a_way_back(packets: Path) -> None:
    """Nobody has an earlier epoch in memory then, and it is read from the files."""
    servers = [EpochFollower(packets, name=f"replica_{i}_of_2.jsonl", shard=(i, 2)).start() for i in range(2)]
    for second in range(3, 9):
        finish(write_packet(packets, second, [1, 2], float(second)))
        for server in servers:
            server.scan()
    again = [EpochFollower(packets, name=f"again_{i}.jsonl", shard=(i, 2)).start() for i in range(2)]
    assert [server.epoch for server in again] == [7, 7]
    log = EpochLog(packets)
    log.commit_after(log.read(), Draft(revert_to=1), "operator")
    assert [server.scan() for server in again] == [8, 8]
    assert sorted(value for server in again for value in server.values(1, 2)) == [0.0, 0.0, 1.0, 2.0]


def test_the_disk_with_the_packets_may_be_away_for_a_while(packets: Path) -> None:
    follower = EpochFollower(packets).start()
    shutil.move(packets, packets.with_name("away"))
    assert follower.scan() == 1 and follower.values(1, 2) == [1.0, 2.0] and not (packets / EPOCHS).exists()
    shutil.rmtree(packets, ignore_errors=True)
    shutil.move(packets.with_name("away"), packets)
    finish(write_packet(packets, 3, [1], 3.0))
    assert follower.scan() == 2 and follower.values(1) == [3.0]


def test_a_server_that_is_started_before_its_disk_waits_for_it(packets: Path) -> None:
    shutil.rmtree(packets)
    follower = EpochFollower(packets)
    starting = threading.Thread(target=follower.start)
    starting.start()
    wait_until(lambda: follower.updater.epochs().stalled, "the server says what it waits for")
    assert "no record is in" in follower.updater.epochs().stalled and starting.is_alive() and follower.epoch == 0
    packets.mkdir()
    finish(write_packet(packets, 1, [1], 2.0))
    starting.join(PATIENCE)
    assert not starting.is_alive() and follower.epoch == 1 and follower.values(1) == [2.0]


def test_all_that_the_document_names_is_there() -> None:
    table = (ROOT / "docs" / "epochs.md").read_text().partition("## What can go wrong\n")[2].partition("\n## ")[0]
    named = re.findall(r"`([a-z_0-9]+)`", "".join(line.rpartition("|")[0].rpartition("|")[2] for line in table.splitlines()))
    sources = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "native" / "tests").glob("*_test.cpp")]
    there = set(re.findall(r"(?:def |TEST\()(\w+)", "\n".join(path.read_text() for path in sources)))
    assert len(named) > 20 and set(named) - there == set()
