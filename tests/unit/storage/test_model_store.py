"""Archives of a store are fetched when the model server starts."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from persia.storage import place_of
from persia.storage.arguments import DIRECTORY
from persia.storage.model_store import local_model_store

pytest.importorskip("obstore")


def test_archives_of_a_store_are_fetched(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store"
    store = place_of(url).open()
    for name in ("ctr.mar", "iris-1.0.mar", "notes.txt", "older/ctr.mar"):
        store.put(name, name.encode())
    directory = local_model_store(DIRECTORY.convert(url, None, None))
    assert {path.name: path.read_bytes() for path in directory.glob("[!.]*")} == {
        "ctr.mar": b"ctr.mar",
        "iris-1.0.mar": b"iris-1.0.mar",
    }


def test_a_directory_is_itself(tmp_path: Path) -> None:
    assert local_model_store(DIRECTORY.convert(str(tmp_path), None, None)) == tmp_path


def test_what_cannot_be_a_store(tmp_path: Path) -> None:
    with pytest.raises(click.BadParameter, match="does not exist"):
        DIRECTORY.convert(str(tmp_path / "nowhere"), None, None)
    with pytest.raises(click.BadParameter, match="expected a path or a URL"):
        DIRECTORY.convert("ftp://a/b", None, None)
    with pytest.raises(FileNotFoundError, match="expected archives"):
        local_model_store(place_of(f"file://{tmp_path}/empty"))
