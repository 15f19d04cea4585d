"""An archive's members on disk: files and directories of its own, and no more of them than the server allows.

What is written is counted: what an archive says of its own size is not asked.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from persia.errors import InvalidInput
from persia.system.regular import open_regular

from .refusals import ArchiveUnreadable, NoDiskSpace

__all__ = ["UnpackLimits", "unpack"]

_PIECE_BYTES = 1 << 20
_COMPRESSIONS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open))
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    *(EOFError, ValueError, RuntimeError, NotImplementedError),
)


@dataclass(frozen=True)
class UnpackLimits:
    """How much an archive may become: `max_unpacked_size` and `max_unpacked_files` of config.properties."""

    bytes: int = 16 << 30
    files: int = 100_000  # directories are counted as well


def unpack(path: Path, directory: Path, limits: UnpackLimits) -> None:
    """Into a directory that is empty; after an error something may lie there. Raises ArchiveUnreadable, NoDiskSpace."""
    members = _Members(directory, path.name, limits)
    try:
        with open_regular(path) as file:
            if zipfile.is_zipfile(file):
                _unpack_zip(file, members)
            else:
                _unpack_tar(file, members, path.name)
    except InvalidInput as error:  # which is a ValueError, too
        raise ArchiveUnreadable(str(error)) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoDiskSpace(f"{path.name} could not be unpacked into {directory.parent}: {error.strerror}") from error
        raise ArchiveUnreadable(f"{path.name} is no archive that can be unpacked: {error.strerror or error}") from error
    except _BROKEN as error:
        raise ArchiveUnreadable(f"{path.name} is no archive that can be unpacked: {error}") from error


class _Members:
    """Those that were written, and what is left of the limits."""

    def __init__(self, directory: Path, archive: str, limits: UnpackLimits) -> None:
        self._directory = directory
        self._archive = archive
        self._limits = limits
        self._bytes = self._files = 0

    def add_directory(self, name: str) -> None:
        """Raises ArchiveUnreadable, OSError."""
        self._make_directory(self._directory / name)

    def add_file(self, name: str, content: IO[bytes], is_program: bool = False) -> None:
        """Of several that have one name the last one counts. Raises ArchiveUnreadable, OSError."""
        path = self._directory / name
        self._make_directory(path.parent)
        self._count_file()
        with path.open("wb") as file:
            while piece := content.read(_PIECE_BYTES):
                self._bytes += len(piece)
                if self._bytes > self._limits.bytes:
                    raise ArchiveUnreadable(_too_much(self._archive, self._limits.bytes, "bytes", "max_unpacked_size"))
                file.write(piece)
        if is_program:
            path.chmod(0o755)

    def _make_directory(self, path: Path) -> None:
        if not path.is_dir():  # the first one is there
            self._make_directory(path.parent)
            self._count_file()
            path.mkdir()

    def _count_file(self) -> None:
        self._files += 1
        if self._files > self._limits.files:
            raise ArchiveUnreadable(_too_much(self._archive, self._limits.files, "files", "max_unpacked_files"))


def _too_much(archive: str, most: int, unit: str, key: str) -> str:
    return f"expected {archive} to unpack to at most {most} {unit}, got more: if it is what it should be, raise {key}"


def _unpack_zip(file: BinaryIO, members: _Members) -> None:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            _check_name(member.filename, is_link=(member.external_attr >> 16) & 0o170000 == 0o120000)
            if member.compress_type not in _METHODS:  # others may decompress a few bytes to any number, in memory
                raise ArchiveUnreadable(f"expected members that are stored or deflated, got another one: {member.filename!r}")
            if member.is_dir():
                members.add_directory(member.filename)
            else:
                with archive.open(member) as content:
                    members.add_file(member.filename, content)


def _unpack_tar(file: BinaryIO, members: _Members, name: str) -> None:
    file.seek(0)
    magic = file.read(max(len(magic) for magic, _ in _COMPRESSIONS))
    file.seek(0)
    stream: Any = next((opened(file) for begin, opened in _COMPRESSIONS if magic.startswith(begin)), file)
    try:
        with tarfile.TarFile(fileobj=cast(IO[bytes], _Pieces(stream))) as archive:
            for entry in archive:
                _check_name(entry.name, is_link=not (entry.isfile() or entry.isdir()))
                content = archive.extractfile(entry)
                if content is None:
                    members.add_directory(entry.name)
                else:
                    members.add_file(entry.name, content, is_program=bool(entry.mode & 0o100))
    except tarfile.ReadError as error:
        raise ArchiveUnreadable(f"{name} is no archive: expected a zip, as .mar is, or a tar") from error


class _Pieces:
    """A stream of which only pieces are read: a header that says it is longer is not taken into memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        """Raises ArchiveUnreadable."""
        if not 0 <= size <= _PIECE_BYTES:
            raise ArchiveUnreadable(f"expected a header of at most {_PIECE_BYTES} bytes in the tar, got {size}")
        return self._stream.read(size)


def _check_name(name: str, is_link: bool) -> None:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or is_link:
        what = "a link or a device" if is_link else "a member outside of the archive"
        raise ArchiveUnreadable(f"expected files and directories of the archive itself, got {what}: {name!r}")
