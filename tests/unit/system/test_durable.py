"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from persia.system.durable import write_new_file


def test_a_file_system_without_hard_links_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: Path, path: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(source), None, str(path))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match=r"the file system has no hard links.*by its URL.*1\.json") as caught:
        write_new_file(tmp_path / "1.json", b"{}")
    assert caught.value.errno == errno.EPERM
    assert list(tmp_path.iterdir()) == []


def test_a_link_whose_answer_was_lost_counts_as_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS then asks for it again, and hears that the file is there: nobody else has won."""
    make = os.link

    def link_twice(source: Path, target: Path) -> None:
        make(source, target)
        make(source, target)

    monkeypatch.setattr(os, "link", link_twice)
    assert write_new_file(tmp_path / "record", b"mine")
    assert not write_new_file(tmp_path / "record", b"other")
    assert (tmp_path / "record").read_bytes() == b"mine" and len(list(tmp_path.iterdir())) == 1
