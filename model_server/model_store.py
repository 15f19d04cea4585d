"""Where archives lie: a directory, or a store whose archives are fetched into one when the server starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from persia.errors import InvalidInput
from persia.storage import Place, place_of
from persia.storage.fetching import fetch
from persia.system.scratch import ScratchDirectory

__all__ = ["MODEL_STORE", "local_model_store"]

_DIRECTORY = click.Path(path_type=Path, file_okay=False, exists=True)
_fetched: list[ScratchDirectory] = []  # until the process ends


class _ModelStore(click.ParamType):  # type: ignore[type-arg]  # older versions take none
    """A directory that is there, or the URL of a store."""

    name = "directory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        try:
            place = place_of(str(value))
        except InvalidInput as error:
            self.fail(str(error), param, ctx)
        if place.path is not None:
            _DIRECTORY.convert(str(value), param, ctx)
        return place


MODEL_STORE = _ModelStore()


def local_model_store(place: Place) -> Path:
    """The directory itself, or one of this process with the archives that lie right below the URL now.

    Raises InvalidInput, OSError; FileNotFoundError if there is no archive.
    """
    if place.path is not None:
        return place.path
    store = place.open()
    archives = [entry for entry in store.list_files() if entry.name.endswith(".mar") and "/" not in entry.name]
    if not archives:
        raise FileNotFoundError(2, "expected archives (.mar) in the store, there are none", store.url)
    scratch = ScratchDirectory("persia-archives-")
    _fetched.append(scratch)
    for entry in archives:
        fetch(store, entry, scratch.path / entry.name)
    return scratch.path
