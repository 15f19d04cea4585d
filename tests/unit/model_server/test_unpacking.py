"""What is refused of an archive while it is unpacked."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from persia.model_server.refusals import ArchiveUnreadable, NoDiskSpace
from persia.model_server.unpacking import UnpackLimits, unpack


def unpacked(archive: Path) -> Path:
    directory = archive.parent / "unpacked"
    directory.mkdir()
    unpack(archive, directory, UnpackLimits())
    return directory


@pytest.mark.parametrize("target", ["/etc/passwd", "inside.py", "../outside.py"])
def test_a_zip_with_a_link(tmp_path: Path, target: str) -> None:
    link = zipfile.ZipInfo("link.py")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "links.mar", "w") as archive:
        archive.writestr(link, target)
    with pytest.raises(ArchiveUnreadable, match="a link or a device"):
        unpacked(tmp_path / "links.mar")
    assert list((tmp_path / "unpacked").iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_tar_with_a_link_or_a_device(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("member")
    member.type, member.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "links.tar.gz", "w:gz") as archive:
        archive.addfile(member)
    with pytest.raises(ArchiveUnreadable, match="a link or a device"):
        unpacked(tmp_path / "links.tar.gz")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_disk_that_is_full_while_an_archive_is_unpacked(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "large.mar"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model.bin", b"x" * 100_000)
    else:
        member = tarfile.TarInfo("model.bin")
        member.size = 100_000
        with tarfile.open(path, "w") as tar:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    directory = tmp_path / "unpacked"
    directory.mkdir()
    (directory / "model.bin").symlink_to("/dev/full")  # the kernel says there that no byte has room
    with pytest.raises(NoDiskSpace, match=r"large\.mar could not be unpacked into .*: No space left on device") as raised:
        unpack(path, directory, UnpackLimits())
    assert (raised.value.status, raised.value.code) == (507, "RESOURCE_EXHAUSTED")
