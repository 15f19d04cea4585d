"""Files that are opened without waiting, and ports in text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from persia import _core
from persia.errors import InvalidInput, Unavailable
from persia.system.address import check_free, is_free, number_of_port
from persia.system.regular import open_regular


def test_only_files_are_opened(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"bytes")
    with open_regular(file) as opened:
        assert opened.read() == b"bytes"
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a named pipe"), (tmp_path, "a directory"), (Path("/dev/null"), "a device")):
        with pytest.raises(InvalidInput, match=f"expected a file, got {kind}: "):
            open_regular(path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


@pytest.mark.parametrize("port", ["65536", "99999", "-1", "", "http", "\u0661", "1" * 5000])
def test_a_port_that_there_is_not(port: str) -> None:
    with pytest.raises(InvalidInput, match="expected a port from 0 to 65535"):
        number_of_port(port)
    assert not is_free(f"127.0.0.1:{port}")
    with pytest.raises(InvalidInput, match="expected a port from 0 to 65535"):
        check_free([f"127.0.0.1:{port}"])
    server = _core.net.Server()
    with pytest.raises((InvalidInput, Unavailable), match="expected a port from 0 to 65535"):
        server.listen(f"127.0.0.1:{port}")
