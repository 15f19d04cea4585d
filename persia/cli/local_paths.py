"""Arguments of commands that read and write mounted file systems only: the URL of a store is refused with what to do."""

from __future__ import annotations

import os
import re
from typing import Any

import click

__all__ = ["LocalPath"]

_URL = re.compile(r"[a-z][a-z0-9+.-]*://")


class LocalPath(click.Path):
    """As click.Path, which would make a directory `s3:` of `s3://bucket`, or say that there is none."""

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click.ParamType."""
        if isinstance(value, str) and _URL.match(value):
            self.fail(
                f"expected a path of a mounted file system, got the URL {value}: copy what is there with the store's own "
                "tools, and give the copy (docs/storage.md has the commands that take URLs)",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)
