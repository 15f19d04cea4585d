"""Arrays that lie in files at some byte, read in blocks. Nothing is mapped: a file that shrinks is an error, and no signal."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from persia.errors import CorruptFile

from .numbers import dtype_of

__all__ = ["StoredArray", "read_exactly"]


@dataclass(frozen=True)
class StoredArray:
    """An array (rows, dim) in C order, or (rows), whose first byte is `byte`.

    `checksum` is that of all of it, if one is known, and `checksum_of` goes on with one over more bytes.
    """

    path: Path
    byte: int
    dtype: str
    shape: tuple[int, ...]
    checksum: int | None = None
    checksum_of: Callable[[bytes, int], int] = zlib.crc32

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape[1:], dtype=np.int64)) * dtype_of(self.dtype).itemsize

    @property
    def bytes(self) -> int:
        return self.shape[0] * self.row_bytes

    def check_room(self, end: int | None = None) -> None:
        """Whether the file has all of it, before byte `end` if there is one. Raises CorruptFile, OSError."""
        size = self.path.stat().st_size if end is None else end
        if self.byte + self.bytes > size:
            expected = f"{self.bytes} bytes of {self.shape} {self.dtype} from byte {self.byte} on"
            raise CorruptFile(str(self.path), expected, f"{max(size - self.byte, 0)} bytes", min(size, self.byte))

    def parts(self, rows: int) -> Iterator[npt.NDArray[Any]]:
        """All of it, so many rows at a time, as it lies in the file. Raises CorruptFile, OSError."""
        found = 0
        with self.path.open("rb") as file:
            file.seek(self.byte)
            for begin in range(0, self.shape[0], rows):
                count = min(rows, self.shape[0] - begin)
                data = read_exactly(file, self.path, count * self.row_bytes)
                if self.checksum is not None:
                    found = self.checksum_of(data, found)
                yield np.frombuffer(data, dtype_of(self.dtype)).reshape(count, *self.shape[1:])
        if self.checksum is not None and found != self.checksum:
            expected = f"{self.bytes} bytes with the checksum {self.checksum:08x}"
            raise CorruptFile(str(self.path), expected, f"bytes with {found:08x}", self.byte)

    def whole(self) -> npt.NDArray[Any]:
        """All of it at once: for arrays that are small."""
        parts = list(self.parts(max(self.shape[0], 1)))
        return parts[0] if parts else np.empty(self.shape, dtype_of(self.dtype))


def read_exactly(file: IO[bytes], path: Path, size: int) -> bytes:
    """So many bytes from where the file stands. Raises CorruptFile where it ends before."""
    place = file.tell()
    data = file.read(size)
    if len(data) != size:
        raise CorruptFile(
            str(path), f"{size} bytes from byte {place} on", f"the end of the file after {len(data)}", place + len(data)
        )
    return data
