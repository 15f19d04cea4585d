"""The thread that follows packets: nothing that a disk or the system answers ends it."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest
from persia_packets import Follower, finish, write_packet
from servers import PATIENCE, wait_until

from embedding_server import watching


@pytest.fixture
def packets(tmp_path: Path) -> Path:
    return tmp_path / "packets"


def test_a_directory_that_cannot_be_looked_at_for_a_while(
    packets: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the disk answers, and whatever else goes wrong, the thread goes on; it says so once."""
    follower = Follower(packets)
    failed = threading.Event()
    failures: list[object] = []
    real = Path.is_dir

    def fail(path: Path) -> bool:
        if path != packets:
            return real(path)
        failures.append(path)
        if len(failures) > 3:
            failed.set()
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_dir", fail)
        follower.updater.start()
        assert failed.wait(PATIENCE)
    finish(write_packet(packets, 1, [1], 1.0))
    wait_until(lambda: follower.packets, "the packet is applied")
    follower.updater.stop()
    assert sum("Stale file handle" in record.message for record in caplog.records) == 1


def test_no_notifications_are_said_once(
    packets: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where inotify's limits are used up, packets are found all the same."""

    class NoObserver:
        def schedule(self, *_: object, **__: object) -> None:
            raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(watching, "Observer", NoObserver)
    packets.mkdir()
    follower = Follower(packets)
    follower.updater.start()
    for second in range(1, 4):
        finish(write_packet(packets, second, [1], 1.0))
        wait_until(lambda: len(follower.packets) == second, "the packet is applied")  # noqa: B023
    follower.updater.stop()
    assert sum("no notifications" in record.message for record in caplog.records) == 1
