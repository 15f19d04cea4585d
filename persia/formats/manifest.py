"""`manifest.json`: what a packet's directory holds, written beside its marker. Persia looks only at *.inc, and passes it by.

The checksum is CRC-32: it is there against faulty storage, not against forgers, who could write a manifest as well, and it
is three times as fast as SHA-256 (3.1 against 1.0 GiB/s on the build machine).
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from persia.errors import CorruptFile

from .layout import MANIFEST, PACKET_FILES, ROWS

FORMATS = (1, 2)  # the second one only where there are files of other kinds than the first one knows
MAX_BYTES = 16 << 20
# Between two pieces a thread needs Python's lock, for which it and lookups would wait in turn.
CHECKED_AT_ONCE = 4 << 20

_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class ManifestFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`rows`: how many rows are in it, or, in a file of another kind, signs."""

    name: Annotated[str, Meta(pattern=r"^[0-9]+_[0-9]+\.(inc|del|ttl)\Z")]
    rows: _Count
    bytes: _Count
    crc32: Annotated[str, Meta(pattern=r"^[0-9a-f]{8}\Z")]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sequence` counts the packets of one training shard from 0; `packet` is the name that the directory was given.

    `rows`: of all files of rows.
    """

    format: Annotated[int, Meta(ge=FORMATS[0], le=FORMATS[1])]
    packet: Annotated[str, Meta(pattern=r"^inc_[0-9]{14}\Z")]
    shard: _Count
    sequence: _Count
    unix_seconds: _Count
    rows: _Count
    files: tuple[ManifestFile, ...]

    def to_bytes(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


_DECODER = msgspec.json.Decoder(Manifest)


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file.

    Raises:
        CorruptFile: it is not one, or contradicts itself.
        FileNotFoundError: there is none, which real Persia's packets do not have either.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise CorruptFile(str(path), f"at most {MAX_BYTES} bytes", "more", MAX_BYTES)
    try:
        manifest = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what = "other JSON" if isinstance(error, msgspec.ValidationError) else "no JSON"
        byte = re.search(r"\(byte (\d+)\)", str(error))
        raise CorruptFile(str(path), "a manifest of a packet", f"{what}: {error}", int(byte[1]) if byte else 0) from None
    names = {file.name for file in manifest.files}
    if len(names) != len(manifest.files):
        raise CorruptFile(str(path), "each file once", ", ".join(file.name for file in manifest.files), 0)
    if manifest.format == 1 and (unknown := [file.name for file in manifest.files if not file.name.endswith(ROWS)]):
        raise CorruptFile(str(path), f"files of rows ({ROWS}) alone in format 1", unknown[0], 0)
    if (total := sum(file.rows for file in manifest.files if file.name.endswith(ROWS))) != manifest.rows:
        raise CorruptFile(str(path), f"files of {manifest.rows} rows", f"{total} rows", 0)
    return manifest


def describe_file(path: Path, rows: int) -> ManifestFile:
    """What a manifest says about a file that holds so many rows."""
    size, crc = _checksum(path)
    return ManifestFile(path.name, rows, size, crc)


def check_manifest(directory: Path) -> Manifest | None:
    """Returns the manifest of a packet's directory, and compares every file with it. None: the packet has no manifest.

    The files are not decoded here. The function that decodes them compares their rows and time with the manifest, by
    check_content.

    Raises:
        CorruptFile: a file is missing, is one too many, or is not the one that was written.
    """
    try:
        manifest = read_manifest(directory / MANIFEST)
    except FileNotFoundError:
        return None
    there = {path.name for path in directory.iterdir() if path.suffix in PACKET_FILES}
    if extra := sorted(there - {file.name for file in manifest.files}):
        raise CorruptFile(str(directory / extra[0]), "only files that the manifest names", "one more", 0)
    for file in manifest.files:
        path = directory / file.name
        if file.name not in there:
            raise CorruptFile(str(path), f"a file of {file.bytes} bytes, by the manifest", "no file", 0)
        if (found := path.stat().st_size) != file.bytes:
            raise CorruptFile(str(path), f"{file.bytes} bytes, by the manifest", f"{found}", min(found, file.bytes))
        if (crc := _checksum(path)[1]) != file.crc32:
            raise CorruptFile(str(path), f"bytes of CRC-32 {file.crc32}, by the manifest", crc, 0)
    return manifest


def check_content(manifest: Manifest | None, path: Path, rows: int, unix_seconds: int, *, time_at: int) -> None:
    """Compares what was read from a file of the packet with the manifest, if there is one; `time_at`: the byte of its time.

    Raises:
        CorruptFile: the file has other rows, or another time.
    """
    if manifest is None:
        return
    expected = next((file.rows for file in manifest.files if file.name == path.name), None)
    if expected is None:
        raise CorruptFile(str(path), "only files that the manifest names", "one more", 0)
    if rows != expected:
        raise CorruptFile(str(path), f"{expected} rows, by the manifest", f"{rows}", 0)
    if unix_seconds != manifest.unix_seconds:
        raise CorruptFile(str(path), f"{manifest.unix_seconds} s, by the manifest", f"{unix_seconds}", time_at)


def _checksum(path: Path) -> tuple[int, str]:
    """Bytes, CRC-32."""
    size = crc = 0
    buffer = memoryview(bytearray(CHECKED_AT_ONCE))
    with path.open("rb", buffering=0) as file:
        while got := file.readinto(buffer):
            size += got
            crc = zlib.crc32(buffer[:got], crc)
    return size, f"{crc:08x}"
