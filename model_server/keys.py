"""TorchServe's token authorization: keys for predictions, for management, and for asking for new keys.

They stand in a file of JSON, which either the server makes when it starts, as TorchServe does, or somebody else has made.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from persia._core.inference import Keys as NativeKeys
from persia._core.security import read_secret
from persia.errors import ConfigError, InvalidInput
from persia.system.durable import replacing

from .refusals import InvalidKey, NoDiskSpace

__all__ = ["API", "INFERENCE", "KEY_FILE", "MANAGEMENT", "GivenKeys", "Keys", "MadeKeys"]

KEY_FILE = "key_file.json"  # in the working directory
INFERENCE, MANAGEMENT, API = "inference", "management", "API"
_BYTES = 6  # of randomness, as TorchServe takes them
_ENDS = "expiration time"
# Of keys that somebody has made: shorter ones can be guessed.
_LEAST_LENGTH = 8


class Keys(ABC):
    """`guards`: who has a key, by its kind. Thread safety: any thread may use it."""

    def __init__(self, file: Path, needs_certificate: bool) -> None:
        """file: where they stand. needs_certificate: beside the key."""
        self.file = file
        # Whoever asks for keys themselves is refused in other words, as in TorchServe.
        checks = {INFERENCE: "Authorization", MANAGEMENT: "Authorization", API: "Authentication"}
        self.guards = {kind: NativeKeys(f"{kind} key", needs_certificate, check) for kind, check in checks.items()}

    @abstractmethod
    def renew(self, kind: str | None) -> None:
        """Makes a new key in place of the one that there was. Raises InvalidKey."""

    def refresh(self) -> list[str]:
        """Reads again what has changed. Returns what is wrong; the keys from before count on then."""
        return []

    def _use(self, entries: Mapping[str, Any]) -> None:
        for kind, guard in self.guards.items():
            guard.set(_keys_of(entries[kind]) if kind in entries else [])


class MadeKeys(Keys):
    """Keys that the server makes, and writes to a file that its user alone can read."""

    def __init__(self, file: Path, minutes: int, needs_certificate: bool) -> None:
        """minutes: until keys come to their end, unless they are renewed."""
        super().__init__(file, needs_certificate)
        self._lifetime = timedelta(minutes=minutes)
        self._lock = threading.Lock()  # over what follows
        self._entries: dict[str, dict[str, str]] = {}

    def open(self) -> None:
        """Makes them: from now on somebody is let in. Raises OSError."""
        with self._lock:
            self._make(MANAGEMENT, INFERENCE, API)

    def renew(self, kind: str | None) -> None:
        if kind not in (INFERENCE, MANAGEMENT):
            raise InvalidKey("Token Authentication failed. Token either incorrect, expired, or not provided correctly")
        with self._lock:
            before = dict(self._entries)
            try:
                self._make(kind)
            except OSError as error:
                self._entries = before
                raise NoDiskSpace(
                    f"no new key was made, as {self.file} could not be written ({error.strerror}): the old one goes on"
                ) from error

    def close(self) -> None:
        """Nobody is let in with these keys any more, so nobody shall find them; another server's stay."""
        with self._lock:
            try:
                if json.loads(self.file.read_text()) == self._entries:
                    self.file.unlink()
            except (OSError, ValueError):
                return

    def _make(self, *kinds: str) -> None:
        ends = datetime.now(timezone.utc) + self._lifetime
        for kind in kinds:
            self._entries[kind] = {"key": secrets.token_urlsafe(_BYTES)}
            if kind != API:
                self._entries[kind][_ENDS] = ends.isoformat().replace("+00:00", "Z")
        with replacing(self.file) as temporary:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                json.dump(self._entries, file, indent=2)
        self._use(self._entries)


class GivenKeys(Keys):
    """Keys of a file that somebody else has made. It is read again when it changes."""

    def __init__(self, file: Path, needs_certificate: bool) -> None:
        """Raises ConfigError, InvalidInput, OSError."""
        super().__init__(file, needs_certificate)
        self._version = self._version_now()
        self._use(self._read())
        self._problem = ""

    def renew(self, kind: str | None) -> None:
        raise InvalidKey(f"the keys of this server are those of a file: write {kind or 'the'} key there, and it counts")

    def refresh(self) -> list[str]:
        version = self._version_now()
        if version != self._version:
            self._version = version
            try:
                self._use(self._read())
                self._problem = ""
            except (ConfigError, InvalidInput, OSError) as error:
                self._problem = str(error)
        return [self._problem] if self._problem else []

    def _read(self) -> Mapping[str, Any]:
        try:
            entries = json.loads(read_secret(str(self.file)))
        except ValueError as error:
            raise ConfigError(f"expected JSON with keys, got other text: {error}", str(self.file)) from None
        if not isinstance(entries, dict) or not {INFERENCE, MANAGEMENT} <= entries.keys():
            raise ConfigError(f"expected an object with {INFERENCE!r} and {MANAGEMENT!r}, got another one", str(self.file))
        for kind, entry in entries.items():
            if kind in self.guards:
                _check(kind, entry, str(self.file))
        return entries

    def _version_now(self) -> tuple[int, ...] | None:
        try:
            status = self.file.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode, status.st_uid


def _keys_of(entry: Mapping[str, Any]) -> list[tuple[str, float | None]]:
    until = datetime.fromisoformat(entry[_ENDS].replace("Z", "+00:00")).timestamp() if _ENDS in entry else None
    keys = entry["key"]
    return [(key, until) for key in ([keys] if isinstance(keys, str) else keys)]


def _check(kind: str, entry: Any, place: str) -> None:
    """Raises ConfigError, in which no key stands."""
    keys = entry.get("key") if isinstance(entry, dict) else None
    keys = [keys] if isinstance(keys, str) else keys
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ConfigError("expected an object with a `key`, a text or several, got another value", f"{place}: {kind}")
    if any(len(key) < _LEAST_LENGTH or any(character.isspace() for character in key) for key in keys):
        raise ConfigError(
            f"expected keys of at least {_LEAST_LENGTH} characters without blanks, got another one", f"{place}: {kind}"
        )
    try:
        _keys_of(entry)
    except (ValueError, AttributeError):
        raise ConfigError(
            f"expected a time such as 2026-01-31T12:00:00Z as {_ENDS!r}, got another text", f"{place}: {kind}"
        ) from None
