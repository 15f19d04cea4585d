"""How values of settings may be written: the example's files have numbers and truth values as text, "150" and "True"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from persia.errors import ConfigError

__all__ = ["Kind", "choice", "count", "text", "yes_or_no"]

# Takes a value, its path and its file; gives it in its own type, or raises ConfigError.
Kind = Callable[[Any, str, str], Any]

_YES = {"true", "yes", "1"}
_NO = {"false", "no", "0"}


def text(value: Any, path: str, file: str) -> str:
    """Text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"expected text, got {value!r}", path, file)
    return value.strip()


def yes_or_no(value: Any, path: str, file: str) -> bool:
    """True, "True", "true", 1... Python would take the text "False" for true."""
    word = str(value).strip().lower()
    if word in _YES or word in _NO:
        return word in _YES
    raise ConfigError(f"expected true or false, got {value!r}", path, file)


def count(least: int) -> Kind:
    """A whole number, or its text."""

    def read(value: Any, path: str, file: str) -> int:
        word = str(value).strip()
        number = int(word) if word.isascii() and word.isdigit() and not isinstance(value, bool) else -1
        if number < least:
            raise ConfigError(f"expected a whole number from {least} on, got {value!r}", path, file)
        return number

    return read


def choice(*words: str, also: Sequence[str] = ()) -> Kind:
    """One of some words. also: words that are known, and refused elsewhere with a reason."""

    def read(value: Any, path: str, file: str) -> str:
        word = str(value).strip()
        if word not in words and word not in also:
            raise ConfigError(f"expected {' or '.join(words)}, got {value!r}", path, file)
        return word

    return read
