"""Which store a URL means, and which of our extras has its library."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from persia.errors import InvalidInput

from .store import Requests, Store

__all__ = ["Place", "place_of"]

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL)
_OBJECTS = ("s3", "s3a", "gs", "az", "abfs", "abfss", "file")
_HDFS = ("hdfs", "viewfs")
_ONE_SLASH = re.compile(rf"({'|'.join((*_OBJECTS, *_HDFS))}):/?(?!/)")


@dataclass(frozen=True)
class Place:
    """Where files are: `path` on a mounted file system, or in a store, which `open` opens. `text` is as it was written."""

    text: str
    path: Path | None

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> Place:
        return Place(f"{self.text.rstrip('/')}/{name}", self.path / name if self.path is not None else None)

    def open(self, requests: Requests | None = None) -> Store:
        """The store of a URL. Opening asks nothing as yet.

        Raises InvalidInput: the library is not installed, or the URL is none that it understands.
        """
        scheme = self.text.partition(":")[0]
        module, extra = ("hdfs", "hdfs") if scheme in _HDFS else ("objects", "s3")
        try:
            if module == "hdfs":
                from .hdfs import HdfsStore as kind
            else:
                from .objects import ObjectStore as kind  # type: ignore[assignment]
        except ModuleNotFoundError as error:
            if error.name not in ("obstore", "hdfs_native"):
                raise
            raise InvalidInput(
                f"{self.text} needs a library that is not installed: pip install 'persia-serve[{extra}]'"
            ) from None
        return kind(self.text, requests)


def place_of(text: str | Path, storage: Literal["ceph", "hdfs"] = "ceph") -> Place:
    """A path, or a URL of a store that we know.

    storage: what a plain path means: `ceph` a mounted file system, `hdfs` the file system that Hadoop's configuration names.

    Raises InvalidInput for a URL of another kind.
    """
    url = _URL.fullmatch(text) if isinstance(text, str) else None
    if url is None and isinstance(text, str) and (missing := _ONE_SLASH.match(text)):
        raise InvalidInput(f"expected a URL with two slashes, such as {missing[1]}://bucket/path, got {text}")
    if url is None:
        if storage == "hdfs":
            return Place(f"hdfs://{Path(text).as_posix()}", None)
        return Place(str(text), Path(text))
    scheme, rest = url[1], url[2]
    if scheme not in (*_OBJECTS, *_HDFS):
        known = ", ".join(f"{name}://" for name in (*_OBJECTS, *_HDFS))
        raise InvalidInput(f"expected a path or a URL of {known}, got {text}")
    if not rest.strip("/"):
        raise InvalidInput(f"expected a URL with a {'path' if scheme in _HDFS else 'bucket'}, got {text}")
    return Place(f"{scheme}://{rest.rstrip('/')}", None)
