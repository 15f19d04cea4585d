"""The files in a tar or zip, with none among them that would be written, or would lead, outside of where it is unpacked.

No link is ever made: a link to another file of the archive is that file under one more name, and any other link is refused.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from posixpath import normpath
from typing import IO

from persia.errors import InvalidInput

__all__ = ["PackedFile", "check_all", "files_of_tar", "files_of_zip"]

_LINKS = 16  # that lead to one another


@dataclass(frozen=True)
class PackedFile:
    """`problem` says why it is refused, if it is."""

    name: str
    executable: bool
    open: Callable[[], IO[bytes]]
    problem: str | None = None


def check_all(files: Sequence[PackedFile], archive: str) -> None:
    """Raises InvalidInput for the first file that is refused."""
    for file in files:
        if problem := file.problem or _name_problem(file.name):
            raise InvalidInput(
                f"expected files that lie in the archive {archive}, got {file.name!r}, which {problem}: nothing is unpacked"
            )


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
        files.append(PackedFile(member.name, bool(target.mode & stat.S_IXUSR), _opener_of_tar(archive, target)))
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
            files.append(PackedFile(entry.filename, bool(mode & stat.S_IXUSR), _opener_of_zip(archive, entry)))
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
    return None


def _refused(name: str, problem: str) -> PackedFile:
    def never() -> IO[bytes]:
        raise InvalidInput(f"{name!r} {problem}")

    return PackedFile(name, False, never, problem)


def _opener_of_tar(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        file = archive.extractfile(member)
        assert file is not None  # of a regular file
        return file

    return opened


def _opener_of_zip(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: archive.open(entry)
