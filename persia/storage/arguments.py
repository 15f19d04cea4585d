"""Arguments of commands that are directories, or the URLs of stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from persia.errors import InvalidInput

from .place import Place, place_of

__all__ = ["DIRECTORY", "NEW_DIRECTORY", "DirectoryOrUrl"]


class DirectoryOrUrl(click.ParamType):  # type: ignore[type-arg]  # older versions take none
    """A Place. is_there: a directory has to be there; else nothing else may be in its place."""

    name = "directory"

    def __init__(self, *, is_there: bool) -> None:
        self._is_there = is_there

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        """See click.ParamType."""
        try:
            place = place_of(str(value))
        except InvalidInput as error:
            self.fail(str(error), param, ctx)
        if place.path is not None:
            click.Path(exists=self._is_there, file_okay=False, path_type=Path).convert(place.path, param, ctx)
        return place


DIRECTORY = DirectoryOrUrl(is_there=True)
NEW_DIRECTORY = DirectoryOrUrl(is_there=False)
