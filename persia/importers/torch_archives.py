"""A file of torch.save, which is a zip archive, or one that lies in a part of another file: what it holds, and where."""

from __future__ import annotations

import collections
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from persia.errors import CorruptFile, InvalidInput

from .source import BLOCK_BYTES
from .stored import StoredArray
from .torch_pickles import TensorView, load_pickle

__all__ = ["OUT_OF_ORDER", "TorchArchive", "in_order"]

OUT_OF_ORDER = "not in C's order, but a view of another tensor: save a copy of it"

_OLD_FORM = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
_LOCAL_HEADER = 30


class TorchArchive:
    """`content` is what was saved, with a TensorView for each tensor; `array` says where the numbers of one lie."""

    def __init__(self, path: Path, byte: int = 0, length: int | None = None) -> None:
        """The archive of so many bytes from `byte` on, or the whole file. Raises CorruptFile, InvalidInput, OSError."""
        self._path, self._byte = path, byte
        self._checked: set[str] = set()
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            self._length = size - byte if length is None else length
            if not 0 <= byte <= byte + self._length <= size:
                raise CorruptFile(
                    str(path), f"{self._length} bytes from byte {byte} on", f"a file of {size} bytes", min(byte, size)
                )
            file.seek(byte)
            if file.read(len(_OLD_FORM)) == _OLD_FORM:
                raise InvalidInput(f"{path} is of a torch before 1.6: load it and save it again with a newer one")
            part = io.BufferedReader(_Part(file, byte, self._length))
            try:
                with zipfile.ZipFile(part) as archive:
                    self._read(archive, file)
            except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, RuntimeError, OverflowError) as error:
                raise CorruptFile(str(path), "a file of torch.save, which is a zip archive", str(error), byte) from error

    def array(self, name: str, view: TensorView) -> StoredArray:
        """Raises CorruptFile if its storage does not hold it, InvalidInput if it is not in C's order."""
        storage = view.storage
        if storage.key not in self._storages:
            raise CorruptFile(
                str(self._path), f"the storage {storage.key} of `{name}`", "no such member of the archive", self._byte
            )
        found = self._storages[storage.key]
        array = StoredArray(self._path, found.byte, storage.dtype, view.shape or (1,))
        count = int(np.prod(view.shape, dtype=object))
        itemsize = array.row_bytes // max(int(np.prod(array.shape[1:], dtype=np.int64)), 1)
        if view.offset < 0 or min(view.shape, default=0) < 0 or (view.offset + count) * itemsize > found.size:
            expected = f"a storage that holds {view.shape} of {storage.dtype} for `{name}`"
            raise CorruptFile(str(self._path), expected, f"{found.size} bytes", found.byte)
        if not in_order(view):
            raise InvalidInput(f"{self._path}: `{name}` is {OUT_OF_ORDER}")
        if count * itemsize == found.size:
            return StoredArray(self._path, found.byte, storage.dtype, array.shape, found.crc32)
        self._check_storage(storage.key)
        return StoredArray(self._path, found.byte + view.offset * itemsize, storage.dtype, array.shape)

    def _check_storage(self, key: str) -> None:
        """Reads a storage of which tensors are parts, once, because its CRC is that of all its bytes. Raises CorruptFile."""
        if key not in self._checked:
            found = self._storages[key]
            collections.deque(StoredArray(self._path, found.byte, "uint8", (found.size,), found.crc32).parts(BLOCK_BYTES), 0)
            self._checked.add(key)

    def _read(self, archive: zipfile.ZipFile, file: io.BufferedReader) -> None:
        members = {member.filename.partition("/")[2]: member for member in archive.infolist()}
        if "data.pkl" not in members:
            raise CorruptFile(
                str(self._path), "a file of torch.save, with a data.pkl", ", ".join(members) or "no member", self._byte
            )
        if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
            raise InvalidInput(f"{self._path} was written by a machine that is not little-endian")
        data, place = archive.read(members["data.pkl"]), self._byte + members["data.pkl"].header_offset
        self.content: Any = load_pickle(data, self._path, place)
        stored = {name[5:]: member for name, member in members.items() if name.startswith("data/")}
        self._storages = {key: self._place(member, file) for key, member in stored.items()}

    def _place(self, member: zipfile.ZipInfo, file: io.BufferedReader) -> _Member:
        begin = self._byte + member.header_offset
        file.seek(begin)
        header = file.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
            raise CorruptFile(str(self._path), f"the header of {member.filename}", f"{header[:4].hex() or 'nothing'}", begin)
        if member.compress_type != zipfile.ZIP_STORED:
            raise CorruptFile(
                str(self._path), f"{member.filename} without compression", f"method {member.compress_type}", begin
            )
        names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        byte = begin + _LOCAL_HEADER + names
        if byte + member.file_size > self._byte + self._length:
            expected = f"{member.file_size} bytes of {member.filename}"
            raise CorruptFile(str(self._path), expected, f"{max(self._byte + self._length - byte, 0)}", byte)
        return _Member(byte, member.file_size, member.CRC)


@dataclass(frozen=True)
class _Member:
    byte: int
    size: int
    crc32: int


class _Part(io.RawIOBase):
    """A part of a file as a file of its own, which zipfile wants."""

    def __init__(self, file: io.BufferedReader, byte: int, length: int) -> None:
        self._file, self._byte, self._length, self._at = file, byte, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        if place < 0:
            raise ValueError(f"byte {place} of a part")
        self._at = place
        return place

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._byte + self._at)
        data = self._file.read(max(min(len(buffer), self._length - self._at), 0))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def in_order(view: TensorView) -> bool:
    """Whether its rows lie one after the other."""
    expected = 1
    for size, stride in zip(reversed(view.shape), reversed(view.stride), strict=True):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return True
