"""Object stores: S3 and what speaks like it (Ceph RGW, MinIO, SeaweedFS), Google's, Azure's, by obstore."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import obstore
from obstore import exceptions
from obstore.store import from_url

from persia.errors import InvalidInput

from .problems import ChangedError, refused, unavailable
from .store import Data, Entry, Requests, Store, Verb

__all__ = ["ObjectStore"]

_PAGE = 1000  # the most names that S3 tells in an answer
# The library asks again after errors of the network and of the server. A server of ours then has something else to do.
_RETRIES = 4
_RETRY_SECONDS = 20
# Of one request, with its body. A file that takes longer goes on with another request where this one ended.
_REQUEST_SECONDS = 30
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_PIECE = 256 << 10  # bytes; for a larger one the system hands out, and clears, new memory each time


class ObjectStore(Store):
    """Credentials, region and endpoint are those of the environment, by the names that the library reads (AWS_...)."""

    def __init__(self, url: str, requests: Requests | None = None) -> None:
        """Raises InvalidInput: the library understands neither the URL nor what the environment says of the store."""
        super().__init__(url, requests)
        if url.startswith("s3"):
            _check_endpoint()
        options: dict[str, Any] = {
            "retry_config": {
                "max_retries": _RETRIES,
                "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
                "backoff": {"init_backoff": timedelta(milliseconds=50), "max_backoff": timedelta(seconds=2), "base": 2},
            },
            "client_options": {"allow_http": True, "timeout": timedelta(seconds=_REQUEST_SECONDS)},
        }
        if url.startswith("file:"):
            options = {"mkdir": True}
        elif url.startswith(("s3:", "s3a:")) and "AWS_REGION" not in os.environ and "AWS_DEFAULT_REGION" not in os.environ:
            options["region"] = "us-east-1"  # which stores other than Amazon's take for theirs
        try:
            self._store = from_url(self.url, **options)
        except (exceptions.BaseError, ValueError) as error:
            said = str(error).partition("\n")[0]
            raise InvalidInput(
                f"{url} cannot be opened: {said}: mend the URL, or the variables that docs/storage.md names under Credentials"
            ) from None

    def list_files(self, directory: str = "", after: str = "") -> Iterator[Entry]:
        """See Store."""
        with _errors(self.url_of(directory)):
            pages = obstore.list(self._store, directory or None, offset=after or None, chunk_size=_PAGE)
            self.requests.count("list")
            metas: Iterator[Any] = (meta for page in pages for meta in page)
            if self.url.startswith("file:"):  # a local directory has its names in no order
                metas = iter(sorted(metas, key=lambda meta: meta["path"]))
            for number, meta in enumerate(metas, 1):
                yield _entry_of(meta)
                if number % _PAGE == 0:
                    self.requests.count("list")

    def directories(self, directory: str = "") -> list[str]:
        """See Store."""
        found = self._ask("list", directory, lambda: obstore.list_with_delimiter(self._store, directory or None))
        return sorted(path.rpartition("/")[2] for path in found["common_prefixes"])

    def stat(self, name: str) -> Entry:
        """See Store."""
        return _entry_of(self._ask("stat", name, lambda: obstore.head(self._store, name)))

    def read(self, entry: Entry, begin: int = 0, end: int | None = None, piece: int | None = None) -> Iterator[memoryview]:
        """See Store."""
        last = entry.size if end is None else min(end, entry.size)
        if begin >= last:
            return  # of an empty file a store has no range
        options: dict[str, Any] = {"range": (begin, last)}
        if entry.tag:
            options["if_match"] = entry.tag
        answer = self._ask("read", entry.name, lambda: obstore.get(self._store, entry.name, options=cast(Any, options)))
        if answer.meta["size"] != entry.size:
            raise ChangedError(f"{self.url_of(entry.name)} was written again while it was read")
        with _errors(self.url_of(entry.name)):
            for part in answer.stream(min_chunk_size=piece or _PIECE):
                view = memoryview(part)
                self.requests.add_bytes(len(view))
                yield view

    def put(self, name: str, data: Data) -> None:
        """See Store."""
        self._ask("put", name, lambda: obstore.put(self._store, name, _content(data)))

    def create(self, name: str, data: Data) -> bool:
        """See Store."""
        try:
            self._ask("create", name, lambda: obstore.put(self._store, name, _content(data), mode="create"))
        except FileExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        """See Store."""
        with suppress(FileNotFoundError):
            self._ask("remove", name, lambda: obstore.delete(self._store, name))

    def _ask(self, verb: Verb, name: str, ask: Callable[[], Any]) -> Any:
        self.requests.count(verb)
        with _errors(self.url_of(name)):
            return ask()


def _check_endpoint() -> None:
    """Of one that is no URL the library has not an error, but a panic."""
    for name in _ENDPOINTS:
        endpoint = os.environ.get(name, "")
        if endpoint and not re.fullmatch(r"https?://[^/\s]+.*", endpoint):
            raise InvalidInput(f"expected ${name} as http://HOST:PORT or https://HOST, got {endpoint!r:.200}")


@contextmanager
def _errors(url: str) -> Iterator[None]:
    """What the library raises, as an OSError."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(2, "there is no such file in the store", url) from error
    except exceptions.AlreadyExistsError as error:
        raise FileExistsError(17, "there is such a file in the store already", url) from error
    except exceptions.PreconditionError as error:
        raise ChangedError(f"{url} was written again while it was read") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise refused(url, str(error)) from error
    except exceptions.BaseError as error:
        raise unavailable(url, str(error)) from error
    except BaseException as error:
        # Which is no Exception, so that a thread which goes on after all errors would end.
        if type(error).__name__ == "PanicException":
            raise unavailable(url, f"its library has failed: {error}") from error
        raise


def _entry_of(meta: Any) -> Entry:
    moment = meta["last_modified"]
    nanoseconds = int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
    return Entry(meta["path"], meta["size"], nanoseconds, meta["e_tag"] or "")


def _content(data: Data) -> Any:
    """A file is sent in parts, without being held in memory."""
    return data if isinstance(data, Path) else bytes(data)
