"""Archives that a registration names by a URL: copied or fetched into the model store, from where the server allows it."""

from __future__ import annotations

import logging
import os
import re
import shutil
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from persia.errors import InvalidInput
from persia.system.durable import replacing
from persia.system.regular import open_regular

from .refusals import BadRequest, DownloadFailed, FileExists, NotFound

__all__ = ["fetch", "is_url", "name_of", "remove_fetched"]

log = logging.getLogger(__name__)

_SCHEMES = ("file", "http", "https")
_SECONDS = 60.0  # without a byte


def is_url(url: str) -> bool:
    """Whether it names an archive outside of the model store."""
    return "://" in url


def fetch(url: str, store: Path, allowed: Sequence[re.Pattern[str]]) -> Path:
    """The new file in the store. Raises NotFound for URLs that are not allowed, BadRequest, FileExists, DownloadFailed.

    A server that answers with a redirection is followed to URLs that are allowed themselves.
    """
    _check(url, allowed)
    name = name_of(url)
    if not name:
        raise DownloadFailed(url)
    path = store / name
    try:
        if path.exists():
            raise FileExists(name)
        with _opened(url, allowed) as source, replacing(path) as temporary:
            with temporary.open("xb") as file:
                shutil.copyfileobj(source, file)
            if path.exists():  # another registration was faster
                raise FileExists(name)
    except InvalidInput as error:
        raise BadRequest(f"{url}: {error}") from error
    except (OSError, ValueError) as error:
        log.error("the archive %s could not be fetched: %s", url, error)
        raise DownloadFailed(url) from error
    return path


def name_of(url: str) -> str:
    """Of the file in the store that an archive is fetched into."""
    return PurePosixPath(unquote(urlsplit(url).path)).name


def remove_fetched(path: Path) -> None:
    """Of an archive that is served no more."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def _opened(url: str, allowed: Sequence[re.Pattern[str]]) -> IO[bytes]:
    """Raises InvalidInput, OSError."""
    parts = urlsplit(url)
    if parts.scheme.lower() == "file" and parts.netloc in ("", "localhost"):
        return open_regular(Path(urllib.request.url2pathname(parts.path)))
    opened: IO[bytes] = urllib.request.build_opener(_CheckedRedirects(allowed)).open(url, timeout=_SECONDS)
    return opened


def _check(url: str, allowed: Sequence[re.Pattern[str]]) -> None:
    try:
        scheme = urlsplit(url).scheme.lower()
    except ValueError as error:
        raise BadRequest(f"expected a URL, got {url!r}: {error}") from error
    if scheme not in _SCHEMES:
        raise NotFound(f"Model not found at: {url}")
    if not any(pattern.fullmatch(url) for pattern in allowed):
        raise NotFound(f"Given URL {url} does not match any allowed URL(s)")


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, allowed: Sequence[re.Pattern[str]]) -> None:
        self._allowed = allowed

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _check(newurl, self._allowed)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
