"""Bytes of callers as text, and text as the values that it describes."""

from __future__ import annotations

import ast
import warnings
from typing import Any

from persia import strict_json
from persia.errors import InvalidInput

__all__ = ["parse_json", "parse_literal", "plain"]


def plain(value: bytes | bytearray) -> str:
    """Raises InvalidInput for what is not UTF-8."""
    try:
        return bytes(value).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"expected a text in UTF-8, got byte 0x{value[error.start]:02x} at {error.start}") from error


def parse_json(text: str) -> Any:
    """Raises InvalidInput."""
    try:
        return strict_json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"expected JSON, as the Content-Type says: {error}") from error


def parse_literal(text: str) -> Any:
    """The value of JSON or of a literal of Python, in which the example's samples are written; None for any other text."""
    stripped = text.strip()
    if not stripped.startswith(("{", "[", "(")) and not stripped.lstrip("-").isdigit():
        return None
    try:
        return strict_json.loads(stripped)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in the text, which Python's compiler would show
            return ast.literal_eval(stripped)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
