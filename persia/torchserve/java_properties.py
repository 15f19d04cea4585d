"""Files of Java's properties, as java.util.Properties reads them: continued lines, escapes, and three kinds of separators."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["Entry", "properties_text", "read_properties"]

_BLANKS = " \t\f"
# A key ends at the first separator or blank that no backslash stands before.
_KEY = re.compile(r"((?:\\.|[^\\=:\s])*)[ \t\f]*[=:]?[ \t\f]*", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_LETTERS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


class Entry(NamedTuple):
    """A key and its value. Blanks after the value belong to it, as Java has them. `line`: where it begins, from 1."""

    key: str
    value: str
    line: int


def read_properties(path: Path) -> list[Entry]:
    """In the order of the file, of a key that stands twice both. Raises OSError."""
    return [_entry(line, number) for number, line in _logical_lines(path.read_text("iso-8859-1"))]


def properties_text(values: Mapping[str, str]) -> str:
    """The text that read_properties reads back, in ASCII. Keys need no escapes; values may hold anything but line ends."""
    return "".join(f"{key}={_escaped(value)}\n" for key, value in values.items())


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Without comments and empty lines; one that ends with a backslash goes on in the next."""
    begun: str | None = None
    first = 0
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        part = line.lstrip(_BLANKS)
        if begun is None:
            if not part or part[0] in "#!":
                continue
            begun, first = "", number
        backslashes = len(part) - len(part.rstrip("\\"))
        if backslashes % 2:
            begun += part[:-1]
            continue
        yield first, begun + part
        begun = None
    if begun is not None:
        yield first, begun


def _entry(line: str, number: int) -> Entry:
    match = _KEY.match(line)
    assert match is not None  # it matches nothing, too
    return Entry(_unescaped(match[1]), _unescaped(line[match.end() :]), number)


def _escaped(value: str) -> str:
    """Java's escapes name UTF-16 units, of which a character may have two."""
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2)]
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)


def _unescaped(text: str) -> str:
    units = _ESCAPE.sub(
        lambda found: chr(int(found[1][1:], 16)) if len(found[1]) > 1 else _LETTERS.get(found[1], found[1]), text
    )
    return units.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
