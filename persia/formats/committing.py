"""What a commit record says of a packet: every byte is read before it is said."""

from __future__ import annotations

from pathlib import Path

from persia.errors import CorruptFile, InvalidInput

from .epoch import CommittedFile, CommittedPacket
from .layout import PACKET_LIKE, PACKET_MARKER, SHARD_LIKE
from .manifest import Manifest, describe_file
from .verification import files_of_packet, verify_packet

__all__ = ["committed_files", "committed_packet"]


def committed_packet(directory: Path) -> CommittedPacket:
    """A packet, for a record.

    Raises:
        InvalidInput: the directory is not that of a complete packet.
        CorruptFile, OSError: the packet is broken.
    """
    shard = directory.parent.name
    if not (SHARD_LIKE.fullmatch(shard) and PACKET_LIKE.fullmatch(directory.name)):
        raise InvalidInput(f"expected the directory of a packet, as s0/inc_20261120070757, got {directory}")
    if not (directory / PACKET_MARKER).exists():
        raise InvalidInput(f"expected a packet that is complete, got one without {PACKET_MARKER}: {directory}")
    files = files_of_packet(directory)  # what comes while these are read is not meant
    if not files:
        raise CorruptFile(str(directory), "a packet with files", "one without", 0)
    info = verify_packet(directory, files)
    committed = committed_files(directory, [path.name for path in files], info.manifest)
    return CommittedPacket(f"{shard}/{directory.name}", info.unix_seconds, committed)


def committed_files(directory: Path, names: list[str], manifest: Manifest | None) -> tuple[CommittedFile, ...]:
    """Files of a packet. manifest: the packet's, if it has one and the files were held against it. Raises OSError."""
    known = {} if manifest is None else {file.name: file for file in manifest.files}
    files = (known[name] if name in known else describe_file(directory / name, 0) for name in names)
    return tuple(CommittedFile(file.name, file.bytes, file.crc32) for file in files)
