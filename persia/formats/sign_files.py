"""`.del` and `.ttl` files: which signs lose their rows, and when rows end. Formats of ours (docs/formats/packet.md)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia.errors import CorruptFile
from persia.system.durable import write_file

from .layout import DELETIONS, ENDS

__all__ = ["SECONDS_AT", "SignFile", "claimed_seconds", "read_sign_file", "write_sign_file"]

_MAGIC = {DELETIONS: b"persiDEL", ENDS: b"persiTTL"}
_HEADER, _CRC = 24, 4
SECONDS_AT = 8  # the byte at which the file's time stands

U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class SignFile:
    """`signs` (n), ascending; `ends` (n): the unix second at which each row ends, None in a file of deletions."""

    unix_seconds: int
    signs: U64
    ends: U64 | None = None


def write_sign_file(path: Path, signs: U64, unix_seconds: int, ends: U64 | None = None) -> None:
    """Writes a file of the kind that its name ends with, whole or not at all. The signs (n) come in any order, each once.

    Raises OSError.
    """
    order = np.argsort(signs)
    body = _MAGIC[path.suffix] + unix_seconds.to_bytes(8, "little") + len(signs).to_bytes(8, "little")
    body += signs[order].tobytes() + (b"" if ends is None else ends[order].tobytes())
    write_file(path, body + zlib.crc32(body).to_bytes(_CRC, "little"))


def read_sign_file(path: Path) -> SignFile:
    """Reads and checks all of it.

    Raises:
        CorruptFile: it is not what a writer of such a file writes.
        OSError: the system refuses.
    """
    kind, data = _MAGIC[path.suffix], path.read_bytes()
    columns = 2 if path.suffix == ENDS else 1
    if len(data) < _HEADER + _CRC:
        raise CorruptFile(str(path), f"at least {_HEADER + _CRC} bytes", f"{len(data)}", len(data))
    if data[:8] != kind:
        raise CorruptFile(str(path), f"{kind!r}", f"{data[:8]!r}", 0)
    count = int.from_bytes(data[16:_HEADER], "little")
    if (size := _HEADER + 8 * columns * count + _CRC) != len(data):
        raise CorruptFile(str(path), f"{size} bytes for {count} signs", f"{len(data)}", min(size, len(data)))
    stored, crc = int.from_bytes(data[-_CRC:], "little"), zlib.crc32(memoryview(data)[:-_CRC])
    if stored != crc:
        raise CorruptFile(str(path), f"bytes of CRC-32 {stored:08x}, as its end says", f"{crc:08x}", len(data) - _CRC)
    numbers = np.frombuffer(data, np.uint64, columns * count, _HEADER).reshape(columns, count)
    signs = numbers[0]
    wrong = np.flatnonzero(signs[1:] <= signs[:-1])
    if len(wrong):
        at = int(wrong[0]) + 1
        raise CorruptFile(str(path), f"signs in ascending order after {signs[at - 1]}", f"{signs[at]}", _HEADER + 8 * at)
    return SignFile(int.from_bytes(data[SECONDS_AT : SECONDS_AT + 8], "little"), signs, numbers[1] if columns == 2 else None)


def claimed_seconds(path: Path) -> int:
    """When the file says that it was made; whether that is true, read_sign_file finds out. Raises CorruptFile, OSError."""
    with path.open("rb") as file:
        header = file.read(_HEADER)
    if len(header) < _HEADER:
        raise CorruptFile(str(path), f"a header of {_HEADER} bytes", f"{len(header)} bytes", len(header))
    return int.from_bytes(header[SECONDS_AT : SECONDS_AT + 8], "little")
