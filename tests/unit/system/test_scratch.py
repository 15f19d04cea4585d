"""Directories in the temporary one: whose they are, and which of them a start removes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from persia.system.lock import lock_file
from persia.system.scratch import ScratchDirectory

OWNER = ".owner.lock"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_goes_with_its_owner(places: Path) -> None:
    scratch = ScratchDirectory("mine-")
    (scratch.path / "file").touch()
    assert scratch.path.parent == places and scratch.path.name.startswith("mine-")
    scratch.remove()
    assert list(places.iterdir()) == []
    scratch.remove()


def test_a_start_removes_what_the_dead_have_left_and_nothing_else(places: Path) -> None:
    living = ScratchDirectory("mine-")
    kept = ScratchDirectory("mine-")
    kept.keep()
    assert not (kept.path / OWNER).exists()  # by which a later start would take it for one that was left
    for name in ("mine-dead", "other-dead"):
        (places / name).mkdir()
        (places / name / OWNER).touch()
    (places / "mine-unknown").mkdir()
    (places / "mine-link").symlink_to(places / "other-dead")
    held = places / "mine-held"
    held.mkdir()
    lock = lock_file(held / OWNER)
    new = ScratchDirectory("mine-")
    expected = {living.path.name, kept.path.name, new.path.name, "mine-unknown", "mine-link", "mine-held", "other-dead"}
    assert {path.name for path in places.iterdir()} == expected and lock is not None


def test_a_start_leaves_what_other_users_have_left(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = places / "mine-of-another"
    left.mkdir()
    (left / OWNER).touch()
    user = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    ScratchDirectory("mine-").remove()
    assert left.exists()
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(places))
    ScratchDirectory("mine-").remove()
    assert not left.exists()
