"""A window: the sketches of what came between two moments. They merge over workers and windows, and go to files."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from persia.errors import CorruptFile

from .counts import Labels, MeanVector, Rate
from .ids import REFERENCE_HASHES, Distinct, Heads
from .numbers import Numbers
from .rows import REFERENCE_ROWS, RowSample

__all__ = ["Key", "Sketch", "Window", "packed", "unpacked"]

Sketch = Numbers | Heads | Distinct | Rate | Labels | MeanVector
S = TypeVar("S", Numbers, Heads, Distinct, Rate, Labels, MeanVector)
Key = tuple[str, str]  # what is watched, such as a feature, and by which signal

_KINDS: dict[str, type[Sketch]] = {kind.__name__: kind for kind in (Numbers, Heads, Distinct, Rate, Labels, MeanVector)}
_MAGIC = b"\x93PDRIFT\x01"
_CHECKED = 4  # bytes of the checksum


class Window:
    """Sketches by their keys. Times are seconds since 1970; `samples` were sketched, of `seen` that came.

    large: with the larger samples of a reference.
    """

    def __init__(self, begin: float = 0.0, end: float = 0.0, *, large: bool = False) -> None:
        self.begin, self.end = begin, end
        self._large = large
        self.samples = self.seen = 0
        self.dropped = 0  # batches that found the queue full
        self.sketches: dict[Key, Sketch] = {}
        self.rows = RowSample(REFERENCE_ROWS) if large else RowSample()

    def sketch(self, kind: type[S], subject: str, signal: str) -> S:
        """The one of this key, which is made when it is first asked for."""
        found = self.sketches.get((subject, signal))
        if not isinstance(found, kind):
            found = kind()
            if self._large and isinstance(found, Distinct):
                found.size = REFERENCE_HASHES
            self.sketches[subject, signal] = found
        return found

    def merge(self, other: Window) -> None:
        """The other stays as it is."""
        if other.seen or other.dropped or other.samples:
            empty = not (self.seen or self.dropped or self.samples)
            self.begin = other.begin if empty else min(self.begin, other.begin)
            self.end = max(self.end, other.end)
        self.samples += other.samples
        self.seen += other.seen
        self.dropped += other.dropped
        for (subject, signal), sketch in other.sketches.items():
            self.sketch(type(sketch), subject, signal).merge(sketch)  # type: ignore[type-var, arg-type]
        self.rows.merge(other.rows)

    @classmethod
    def merged(cls, windows: Iterable[Window], *, large: bool = False) -> Window:
        whole = cls(large=large)
        for window in windows:
            whole.merge(window)
        return whole

    def parts(self) -> list[Any]:
        sketches = [[*key, type(sketch).__name__, sketch.parts()] for key, sketch in self.sketches.items()]
        return [self.begin, self.end, self.samples, self.seen, self.dropped, sketches, self.rows.parts()]

    @classmethod
    def of_parts(cls, parts: list[Any]) -> Window:
        """Raises ValueError and its kin for what parts() did not give."""
        made = cls()
        made.begin, made.end, made.samples, made.seen, made.dropped, sketches, rows = parts
        for subject, signal, kind, inner in sketches:
            made.sketches[subject, signal] = _KINDS[kind].of_parts(inner)
        made.rows = RowSample.of_parts(rows)
        return made


def packed(kind: str, parts: Any) -> bytes:
    """A file: eight bytes that say what it is, a checksum, and compressed MessagePack of the kind and the parts."""
    body = zlib.compress(msgspec.msgpack.encode([kind, parts]), 1)
    return _MAGIC + zlib.crc32(body).to_bytes(_CHECKED, "little") + body


def unpacked(kind: str, data: bytes, file: str) -> Any:
    """The parts. Raises CorruptFile."""
    start = len(_MAGIC) + _CHECKED
    if not data.startswith(_MAGIC):
        raise CorruptFile(file, f"a file of `persia-launcher drift` ({kind})", repr(data[: len(_MAGIC)]), 0)
    if zlib.crc32(data[start:]) != int.from_bytes(data[len(_MAGIC) : start], "little"):
        raise CorruptFile(file, "the checksum of what follows", "another one: the file was cut or changed", len(_MAGIC))
    try:
        found, parts = msgspec.msgpack.decode(zlib.decompress(data[start:]))
    except (ValueError, TypeError, zlib.error) as error:
        raise CorruptFile(file, "compressed MessagePack", str(error), start) from None
    if found != kind:
        raise CorruptFile(file, f"a {kind}", f"a {found}", start)
    return parts
