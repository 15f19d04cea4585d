"""The file by which `--stop` finds the server that `--start` has started."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from persia.errors import Unavailable
from persia.model_server import background


def test_a_server_of_another_container_is_not_stopped_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two containers may share /tmp. There the number is that of another process here."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    signalled: list[int] = []
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda *_: signalled.append(1))
    server = background.Background()
    server.note()
    assert background.stop_server(waits=False) == "The model server stops." and signalled
    signalled.clear()
    monkeypatch.setattr(os, "readlink", lambda _path: "pid:[1]")
    with pytest.raises(Unavailable, match=f"process {os.getpid()} of another container: stop it there"):
        background.stop_server(waits=False)
    assert not signalled
    with pytest.raises(Unavailable, match=f"already running, process {os.getpid()} by "):
        background.Background()
