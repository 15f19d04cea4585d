"""What is never deleted with old packets: whatever is not just a packet that was applied."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.old_packets import AGED, PAST, follow, write_old
from tests.support.persia_packets import write_file


@pytest.fixture
def packets(tmp_path: Path) -> Path:
    return tmp_path / "packets"


def no_marker(directory: Path) -> None:
    (directory / "inc_update_done").unlink()


def set_aside(directory: Path) -> None:
    (directory / "0_1.inc").write_bytes(bytes(20))


def new_file(directory: Path) -> None:
    write_file(directory / "0_1.inc", PAST + 1, [5], 1.0)


def other_file(directory: Path) -> None:
    (directory / "notes.txt").touch()


def subdirectory(directory: Path) -> None:
    (directory / "0_7").mkdir()


def rewritten(directory: Path) -> None:
    write_file(directory / "0_0.inc", PAST + 1, [1, 2, 3], 2.0)


def file_is_a_link(directory: Path) -> None:
    os.rename(directory / "0_0.inc", directory.parent.parent / "elsewhere.inc")
    (directory / "0_0.inc").symlink_to(directory.parent.parent / "elsewhere.inc")


def marker_is_a_link(directory: Path) -> None:
    (directory / "inc_update_done").unlink()
    (directory / "inc_update_done").symlink_to(directory / "0_0.inc")


def packet_is_a_link(directory: Path) -> None:
    os.rename(directory, directory.parent.parent / "elsewhere")
    directory.symlink_to(directory.parent.parent / "elsewhere")


def shard_is_a_link(directory: Path) -> None:
    os.rename(directory.parent, directory.parent.parent / "elsewhere")
    directory.parent.symlink_to(directory.parent.parent / "elsewhere")


def grave_is_a_link(directory: Path) -> None:
    (directory.parent.parent / "elsewhere").mkdir()
    (directory.parent.parent / "elsewhere" / "file").touch()
    (directory.parent / ".pruned").symlink_to(directory.parent.parent / "elsewhere")


CHANGES = [no_marker, set_aside, new_file, other_file, subdirectory, rewritten]
LINKS = [file_is_a_link, marker_is_a_link, packet_is_a_link, shard_is_a_link, grave_is_a_link]


# What is new or rewritten before the server looks is applied as it is.
CASES = [
    (change, seen) for change in [*CHANGES, *LINKS] for seen in (True, False) if not seen or change not in (new_file, rewritten)
]


@pytest.mark.parametrize(("change", "seen"), CASES)
def test_what_is_not_just_an_applied_packet_stays(packets: Path, change: Callable[[Path], None], seen: bool) -> None:
    """Whether it is so before the server looks, or becomes so after it has applied the packet."""
    directory = write_old(packets, 1, [1], 1.0)
    if seen:
        change(directory)
    follower = follow(packets, AGED, checkpoint=9)
    if not seen:
        change(directory)

    def tree() -> list[tuple[str, bytes]]:
        return sorted(
            (str(path), path.read_bytes()) for path in packets.rglob("*") if path.is_file() and ".applied" not in str(path)
        )

    before = tree()
    follower.updater.prune()
    assert tree() == before
    assert os.path.lexists(directory)


def test_a_packet_that_is_set_aside_stays(packets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that was applied before: whoever looks for what is wrong with it shall find it."""
    directory = write_old(packets, 1, [1], 1.0)
    follower = follow(packets, AGED, checkpoint=9)

    def fail(path: Path) -> list[str]:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", fail)
        follower.scan()
    assert list(follower.updater.ledger.set_aside()) == ["s0/inc_20260101000001"]
    follower.updater.prune()
    assert directory.exists()
    follower.scan()
    assert follower.updater.ledger.set_aside() == {}
