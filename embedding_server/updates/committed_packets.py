"""Packets as commit records name them: where they lie, in which order they come, and whether they are what was committed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from persia.errors import CorruptFile, PersiaError
from persia.formats.committing import committed_files
from persia.formats.epoch import CommittedPacket
from persia.formats.epoch_history import Packets
from persia.formats.packet import Packet, PacketFile

from ..base import Base
from .applier import Loaded

__all__ = ["StalledError", "expect_as_committed", "is_part", "packet_below", "stalling", "steps"]


class StalledError(PersiaError):
    """An epoch cannot be built. `packet`: because of that packet; None: because of the checkpoint.

    `base`: the checkpoint that could not be taken over. `seconds`: for so long it was tried.
    """

    def __init__(self, epoch: int, packet: str | None, problem: str, base: Base | None = None, seconds: float = 0.0) -> None:
        super().__init__(epoch, packet, problem, base, seconds)
        self.epoch, self.packet, self.problem, self.base, self.seconds = epoch, packet, problem, base, seconds

    def __str__(self) -> str:
        what = "" if self.packet is None else f"packet {self.packet}: "
        return f"epoch {self.epoch} cannot be built: {what}{self.problem}"


@contextmanager
def stalling(epoch: int, packet: str) -> Iterator[None]:
    """Whatever keeps a packet from being read stalls the epoch."""
    try:
        yield
    except (PersiaError, OSError, MemoryError) as error:
        raise StalledError(epoch, packet, str(error) or repr(error)) from error


def is_part(packets: Packets, other: Packets) -> bool:
    """Whether the others have all of these packets."""
    return all((there := other.get(name)) and there.has_all_of(packet) for name, packet in packets.items())


def steps(new: Iterable[CommittedPacket], there: Iterable[CommittedPacket]) -> Iterator[tuple[CommittedPacket, bool]]:
    """In the order of packets, from the first new one on: which one, and whether it is in the table already."""
    ordered = sorted(new, key=lambda packet: packet.key)
    if not ordered:
        return
    names = {packet.packet for packet in ordered}
    later = [packet for packet in there if packet.key > ordered[0].key and packet.packet not in names]
    for packet in sorted(ordered + later, key=lambda packet: packet.key):
        yield packet, packet.packet not in names


def packet_below(root: Path, committed: CommittedPacket) -> Packet:
    """As it was committed: without the times of its files."""
    files = tuple(PacketFile(file.name, file.bytes, 0) for file in committed.files)
    return Packet(root / committed.packet, committed.shard, files)


def expect_as_committed(committed: CommittedPacket, packet: Packet, loaded: Loaded) -> None:
    """Raises CorruptFile unless what was loaded is what the record says, OSError."""
    now = committed_files(packet.directory, [file.name for file in committed.files], loaded.manifest)
    for expected, got in zip(committed.files, now, strict=True):
        if got != expected:
            what = "{0.bytes} bytes of CRC-32 {0.crc32}"
            raise CorruptFile(
                str(packet.directory / got.name), f"{what.format(expected)}, by the epoch's record", what.format(got), 0
            )
    if loaded.key != committed.key:
        expected_at = f"a packet of second {committed.unix_seconds}, by the epoch's record"
        raise CorruptFile(str(packet.directory), expected_at, f"one of second {loaded.key[0]}", 0)
