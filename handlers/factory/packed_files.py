"""The files in a tar or zip, with none among them that would be written, or would lead, outside of where it is unpacked.

No link is ever made: a link to another file of the archive is that file under one more name, and any other link is refused.
"""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import IO

from persia.errors import InvalidInput, TooLarge

__all__ = ["PackedFile", "check_all", "files_of_tar", "files_of_zip"]

_LINKS = 16  # that lead to one another


# Bytes of all files of an archive. A few of them can be packed as many.
MAX_UNPACKED = 8 << 30
_MAX_NAME = 255  # bytes, of Linux's file systems
_MAX_PATH = 1024  # bytes, which leaves room for where it is unpacked


@dataclass(frozen=True)
class PackedFile:
    """`problem` says why it is refused, if it is."""

    name: str
    executable: bool
    size: int
    open: Callable[[], IO[bytes]]
    problem: str | None = None


def check_all(files: Sequence[PackedFile], archive: str, directory: Path, most_bytes: int = MAX_UNPACKED) -> None:
    """Whether all can be unpacked into the directory. Raises InvalidInput for the first file that is refused, TooLarge."""
    children = {parent: file.name for file in files for parent in PurePosixPath(file.name).parents if parent.parts}
    for file in files:
        problem = file.problem or _name_problem(file.name) or _place_problem(file.name, directory)
        if (child := children.get(PurePosixPath(file.name))) is not None:
            problem = problem or f"is also the directory of {child!r}"
        if problem:
            raise InvalidInput(
                f"expected files that lie in the archive {archive}, got {file.name!r}, which {problem}: nothing is unpacked"
            )
    if (size := sum(file.size for file in files)) > most_bytes:
        raise TooLarge(f"expected {archive} to have files of at most {most_bytes} bytes, got {size}: nothing is unpacked")


def files_of_tar(archive: tarfile.TarFile) -> list[PackedFile]:
    """Directories are made for the files in them."""
    members = {normpath(member.name): member for member in archive.getmembers()}
    files = []
    for member in archive.getmembers():
        if member.isdir():
            if problem := _name_problem(member.name):
                files.append(_refused(member.name, problem))
            continue
        target = _linked(members, member)
        if target is None:
            what = f"is a link to {member.linkname!r}, no file of this archive (tar -h packs what links lead to)"
            files.append(_refused(member.name, what if member.issym() or member.islnk() else "is a device or a pipe"))
            continue
        files.append(PackedFile(member.name, bool(target.mode & stat.S_IXUSR), target.size, _opener_of_tar(archive, target)))
    return files


def files_of_zip(archive: zipfile.ZipFile) -> list[PackedFile]:
    """Directories are made for the files in them."""
    files = []
    for entry in archive.infolist():
        mode = entry.external_attr >> 16
        if entry.is_dir():
            if problem := _name_problem(entry.filename):
                files.append(_refused(entry.filename, problem))
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            files.append(_refused(entry.filename, "is a link, a device or a pipe (zip without -y packs what links lead to)"))
        else:
            files.append(PackedFile(entry.filename, bool(mode & stat.S_IXUSR), entry.file_size, _opener_of_zip(archive, entry)))
    return files


def _linked(members: Mapping[str, tarfile.TarInfo], member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """The file whose content a member has: itself, or what it links to in the archive; None if there is no such file."""
    for _ in range(_LINKS):
        if member.isfile():
            return member
        if member.issym():
            name = normpath(PurePosixPath(member.name).parent / member.linkname)
        elif member.islnk():
            name = normpath(member.linkname)
        else:
            return None
        if name not in members:
            return None
        member = members[name]
    return None


def _name_problem(name: str) -> str | None:
    path = PurePosixPath(name)
    if path.is_absolute() or name.startswith(("/", "\\")) or "\0" in name:
        return "is an absolute name"
    if ".." in path.parts:
        return "leads outside with `..`"
    if not path.parts:
        return "is no name of a file" if name.strip("./") else None
    if path.parts[0].upper() == "MAR-INF":
        return "belongs to TorchServe"
    if any(len(os.fsencode(part)) > _MAX_NAME for part in path.parts):
        return f"has a name of more than {_MAX_NAME} bytes"
    if len(os.fsencode(name)) > _MAX_PATH:
        return f"has a path of more than {_MAX_PATH} bytes"
    return None


def _place_problem(name: str, directory: Path) -> str | None:
    """A file that is there stays as it is, wherever it lies."""
    if (directory / name).exists():
        return None
    for parent in PurePosixPath(name).parents:
        place = directory / parent
        if parent.parts and (place.is_symlink() or place.is_file()):
            return f"would lie in {place}, which is a {'link' if place.is_symlink() else 'file'}"
    return None


def _refused(name: str, problem: str) -> PackedFile:
    def never() -> IO[bytes]:
        raise InvalidInput(f"{name!r} {problem}")

    return PackedFile(name, False, 0, never, problem)


def _opener_of_tar(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        file = archive.extractfile(member)
        assert file is not None  # of a regular file
        return file

    return opened


def _opener_of_zip(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: archive.open(entry)
