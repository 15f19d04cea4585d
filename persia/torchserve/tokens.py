"""The tokens that TorchServe makes when it starts, and writes to its key file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

from persia.errors import AccessDenied, InvalidInput, Unavailable
from persia.torchserve.state import KEY_FILE, StateDirectory

__all__ = ["Tokens"]

Kind = Literal["inference", "management"]
Metadata: TypeAlias = tuple[tuple[str, str], ...]


class Tokens:
    """A token, a key file with tokens, or neither. Safe for use by many threads.

    A key file is read again when it has changed: each start of TorchServe makes new tokens.
    """

    def __init__(
        self,
        token: str | None = None,
        file: str | os.PathLike[str] | None = None,
        otherwise: Callable[[], Metadata] = lambda: (),
    ) -> None:
        """otherwise: what goes with a call where there is neither."""
        if token is not None and file is not None:
            raise InvalidInput("expected a token or a token file, got both")
        self._token = token.strip() if token is not None else None
        self._file = Path(file) if file is not None else None
        self._otherwise = otherwise
        self._read: tuple[tuple[int, int], dict[str, str]] | None = None

    def metadata(self, kind: Kind) -> Metadata:
        """What goes with a call to the inference or the management service.

        Raises AccessDenied if there is no such key, Unavailable while a file that had one, or that a launcher of TorchServe is
        about to make, is not there.
        """
        token = self._token if self._file is None else self._from_file(self._file, kind)
        return (("authorization", f"Bearer {token}"),) if token is not None else self._otherwise()

    def _from_file(self, file: Path, kind: Kind) -> str:
        try:
            stat = file.stat()
            version = (stat.st_mtime_ns, stat.st_ino)
            if self._read is None or self._read[0] != version:
                self._read = version, _keys(file)
            return self._read[1][kind]
        except (OSError, ValueError, TypeError, KeyError) as error:
            if isinstance(error, (OSError, ValueError)) and not isinstance(error, PermissionError):
                place = "where they were before" if self._read is not None else "the state directory of its launcher"
                if self._read is not None or self._file_is_to_come(file):
                    again = "gone or half written: TorchServe is about to start, or has ended"
                    raise Unavailable(f"expected TorchServe's tokens in {file}, {place}, got a file {again}") from error
            if isinstance(error, OSError):
                problem = f"{error.strerror}, in a directory that is no TorchServe's; is it running?"
                raise AccessDenied(
                    f"expected TorchServe's tokens in {file}, got: {problem} Take the path that its `ready` line names"
                ) from error
            got = f"{type(error).__name__}: {error}"  # not its repr, in which the whole file may stand
            raise AccessDenied(f"expected {file} to be TorchServe's key file with a key for {kind}, got: {got}") from error

    @property
    def file(self) -> Path | None:
        """The key file, if the tokens are from one."""
        return self._file

    @staticmethod
    def _file_is_to_come(file: Path) -> bool:
        return file.name == KEY_FILE and StateDirectory(file).is_ours


def _keys(file: Path) -> dict[str, str]:
    entries = json.loads(file.read_text())
    if not isinstance(entries, dict):
        raise TypeError(f"expected an object, got {type(entries).__name__}")
    keys = {kind: _first(entry["key"]) for kind, entry in entries.items()}
    for kind, key in keys.items():
        if not isinstance(key, str):
            raise TypeError(f"expected a string as key for {kind}, got {type(key).__name__}")
    return keys


def _first(key: Any) -> Any:
    """Of several keys, which only the model server takes, so that an old one counts beside the new one for a while."""
    return key[0] if isinstance(key, list) and key else key
