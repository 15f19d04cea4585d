"""Hadoop's file system, by hdfs-native, which needs no Java."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import hdfs_native

from persia.errors import InvalidInput
from persia.system.durable import is_temporary, temporary_beside

from .problems import ChangedError, StoreUnavailable, refused, unavailable
from .store import Data, Entry, Requests, Store, Verb
from .time_limits import within

__all__ = ["HdfsStore", "Patience"]

_T = TypeVar("_T")
_PIECE, _LEAST = 4 << 20, 64 << 10  # bytes of a request to a data node: most of the time, and at least
_PAUSES = (0.5,)  # seconds before a request is made again that the library has given up
_DATA_NODE = re.compile(r'DatanodeInfoProto \{.*?host_name: "([^"]*)".*?(?=, DatanodeInfoProto|\])')  # in a message
_DENIED = re.compile(r"Permission denied: (user=[^\n\\]+)")
# Otherwise the library asks a name node that is away for minutes, and a server that is to end waits as long. The user's own
# configuration of Hadoop says the rest.
_SETTINGS = {
    "dfs.client.failover.max.attempts": "5",
    "dfs.client.failover.sleep.base.millis": "100",
    "dfs.client.failover.sleep.max.millis": "1000",
}


class Patience(NamedTuple):
    """Seconds after which HDFS is given up. The library itself waits for ever for a name node that hangs (D-294)."""

    read: float = 15.0  # an answer of a name node, for a server that follows packets and has a problem to tell
    write: float = 60.0  # the same for a writer, who has nothing better to do
    idle: float = 15.0  # a data node that sends nothing
    piece: float = 120.0  # a piece on its way from or to data nodes


class HdfsStore(Store):
    """`hdfs://host:port/path`, or `hdfs:///path` for the file system that HADOOP_CONF_DIR names.

    A file is written beside its place and renamed, which HDFS does in one step, with or without replacing what is there.
    """

    def __init__(self, url: str, requests: Requests | None = None, patience: Patience | None = None) -> None:
        """Raises InvalidInput: the URL names no file system, and no configuration of Hadoop does."""
        super().__init__(url, requests)
        scheme, _, rest = self.url.partition("://")
        authority, _, path = rest.partition("/")
        self._root = f"/{path}"
        self._patience = patience or Patience()
        self._name_node = f"{scheme}://{authority}" if authority else None
        try:
            self._client = self._connected()
        except RuntimeError as error:
            raise InvalidInput(
                f"expected hdfs://HOST:PORT/PATH, or a HADOOP_CONF_DIR whose core-site.xml has fs.defaultFS, got {url}: {error}"
            ) from None

    def list_files(self, directory: str = "", after: str = "") -> Iterator[Entry]:
        """See Store. Only directories that may have names after `after` are looked into."""
        inside = f"{directory}/" if directory else ""
        found = []
        for status in self._status_of_all(directory):
            name = inside + status.path.rstrip("/").rpartition("/")[2]
            if not is_temporary(name.rpartition("/")[2]):
                found.append((f"{name}/" if status.isdir else name, name, status))
        for key, name, status in sorted(found, key=lambda one: one[0]):
            if not status.isdir:
                if name > after:
                    yield _entry_of(name, status)
            elif key > after or after.startswith(key):
                yield from self.list_files(name, after)

    def directories(self, directory: str = "") -> list[str]:
        """See Store."""
        return sorted(status.path.rstrip("/").rpartition("/")[2] for status in self._status_of_all(directory) if status.isdir)

    def stat(self, name: str) -> Entry:
        """See Store."""
        status = self._ask("stat", name, lambda: self._answer(lambda client: client.get_file_info(self._path(name))))
        if status.isdir:
            raise FileNotFoundError(2, "expected a file of the store, got a directory", self.url_of(name))
        return _entry_of(name, status)

    def read(self, entry: Entry, begin: int = 0, end: int | None = None, piece: int | None = None) -> Iterator[memoryview]:
        """See Store."""
        last = entry.size if end is None else min(end, entry.size)
        reader = self._ask("read", entry.name, lambda: self._answer(lambda client: client.read(self._path(entry.name))))
        if len(reader) != entry.size:
            raise ChangedError(f"{self.url_of(entry.name)} was written again while it was read")
        while begin < last:
            try:
                size = min(max(piece or _PIECE, _LEAST), last - begin)
                part = within(self._patience.piece, partial(reader.read_range, begin, size))
            except (OSError, RuntimeError) as error:
                raise _as_os_error(error, self.url_of(entry.name)) from error
            if not part:
                return
            begin += len(part)
            self.requests.add_bytes(len(part))
            yield memoryview(part)

    def put(self, name: str, data: Data) -> None:
        """See Store."""
        self._ask("put", name, lambda: self._write(name, data, overwrite=True))

    def create(self, name: str, data: Data) -> bool:
        """See Store."""
        try:
            self._ask("create", name, lambda: self._write(name, data, overwrite=False))
        except FileExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        """See Store."""
        with suppress(FileNotFoundError):
            self._ask(
                "remove", name, lambda: self._answer(lambda client: client.delete(self._path(name)), self._patience.write)
            )

    def _write(self, name: str, data: Data, *, overwrite: bool) -> None:
        path = self._path(name)
        parent, _, last = path.rpartition("/")
        temporary = f"{parent}/{temporary_beside(Path(last)).name}"
        options = hdfs_native.WriteOptions(overwrite=True, create_parent=True)
        try:
            file = self._answer(lambda client: client.create(temporary, options), self._patience.write)
            for piece in _pieces(data):
                within(self._patience.piece, partial(file.write, piece))
            within(self._patience.piece, file.close)
            self._answer(lambda client: client.rename(temporary, path, overwrite), self._patience.write)
        except BaseException:
            with suppress(OSError, RuntimeError):  # the first error is the one to know
                self._answer(lambda client: client.delete(temporary), self._patience.write)
            raise

    def _status_of_all(self, directory: str) -> list[Any]:
        try:
            return self._ask(
                "list", directory, lambda: self._answer(lambda client: list(client.list_status(self._path(directory))))
            )
        except FileNotFoundError:
            return []

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}" if name else self._root

    def _connected(self) -> hdfs_native.Client:
        idle = {"dfs.client.socket-timeout": str(round(self._patience.idle * 1000))}
        return hdfs_native.Client(self._name_node, _SETTINGS | idle)

    def _answer(self, ask: Callable[[hdfs_native.Client], _T], seconds: float | None = None) -> _T:
        """Of a name node. After one that does not come the next request has a connection of its own."""
        client = self._client
        try:
            return within(seconds or self._patience.read, lambda: ask(client))
        except TimeoutError:
            if self._client is client:
                self._client = self._connected()
            raise

    def _ask(self, verb: Verb, name: str, ask: Callable[[], _T]) -> _T:
        """What the name node answers, which is asked again where it does not."""
        for pause in (*_PAUSES, None):
            self.requests.count(verb)
            try:
                return ask()
            except (OSError, RuntimeError) as error:
                found = _as_os_error(error, self.url_of(name))
                if pause is None or not isinstance(found, StoreUnavailable) or isinstance(error, TimeoutError):
                    raise found from error
            time.sleep(pause)
        raise AssertionError


def _as_os_error(error: Exception, url: str) -> OSError:
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(2, "there is no such file in the store", url)
    if isinstance(error, FileExistsError):
        return FileExistsError(17, "there is such a file in the store already", url)
    text = _DATA_NODE.sub(lambda node: node[1], str(error).replace('\\"', '"'))
    if denied := _DENIED.search(text):
        advice = "give this user the right, or be another one by HADOOP_USER_NAME or a Kerberos ticket"
        return PermissionError(errno.EACCES, f"HDFS refuses: {denied[1]}: {advice}", url)
    if isinstance(error, PermissionError) or "AccessControlException" in text or "SaslError" in text or "GSSAPI" in text:
        return refused(url, text)
    return unavailable(url, text)


def _entry_of(name: str, status: Any) -> Entry:
    # HDFS has no other sign of a file's content: a file that is written again has another time.
    return Entry(name, status.length, status.modification_time * 1_000_000, "")


def _pieces(data: Data) -> Iterator[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    with Path(data).open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
