"""How values of settings may be written: the example's files have numbers and truth values as text, "150" and "True"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from persia.errors import ConfigError

from .brief import brief

__all__ = ["Kind", "choice", "count", "text", "yes_or_no"]

# Takes a value, its path and its file; gives it in its own type, or raises ConfigError.
Kind = Callable[[Any, str, str], Any]

_YES = {"true", "yes", "1"}
_NO = {"false", "no", "0"}
_DIGITS = 18  # of a number that is meant


def text(value: Any, path: str, file: str) -> str:
    """Text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"expected text, got {brief(value)}", path, file)
    return value.strip()


def yes_or_no(value: Any, path: str, file: str) -> bool:
    """True, "True", "true", 1... Python would take the text "False" for true."""
    word = _word(value).lower()
    if word in _YES or word in _NO:
        return word in _YES
    raise ConfigError(f"expected true or false, got {brief(value)}", path, file)


def count(least: int) -> Kind:
    """A whole number, or its text."""

    def read(value: Any, path: str, file: str) -> int:
        word = _word(value)
        number = int(word) if word.isascii() and word.isdigit() and len(word) <= _DIGITS else -1
        if number < least:
            raise ConfigError(f"expected a whole number from {least} on, got {brief(value)}", path, file)
        return number

    return read


def choice(*words: str, also: Sequence[str] = ()) -> Kind:
    """One of some words. also: words that are known, and refused elsewhere with a reason."""

    def read(value: Any, path: str, file: str) -> str:
        word = _word(value)
        if word not in words and word not in also:
            raise ConfigError(f"expected {' or '.join(words)}, got {brief(value)}", path, file)
        return word

    return read


def _word(value: Any) -> str:
    """A value as text; empty for what is neither text nor a number that one would write."""
    is_number = isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= 64)
    return str(value).strip() if isinstance(value, str) or is_number else ""
