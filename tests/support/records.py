"""Commit records of epochs for tests, without the disk that they would speak of."""

from __future__ import annotations

from collections.abc import Mapping

from persia.formats.epoch import NO_PARENT, CommittedCheckpoint, CommittedFile, CommittedPacket, EpochRecord, VariantChange


def committed(second: int, *names: str, shard: int = 0) -> CommittedPacket:
    """A packet of that second, with these files."""
    files = tuple(CommittedFile(name, 48, f"{second:08x}") for name in names or ("0_0.inc",))
    return CommittedPacket(f"s{shard}/inc_2026010100{second:04d}", 1_800_000_000 + second, files)


def checkpoint(number: int) -> CommittedCheckpoint:
    """That has the packets before second 10 times the number."""
    return CommittedCheckpoint(f"/checkpoints/{number}", f"{number:016x}", 1_800_000_000, (1_800_000_000 + 10 * number,))


def record(
    epoch: int,
    *add: CommittedPacket,
    void: tuple[str, ...] = (),
    revert_to: int | None = None,
    base: CommittedCheckpoint | None = None,
    dense: dict[str, str] | None = None,
    hold: bool | None = None,
    variants: Mapping[str, VariantChange | None] | None = None,
    parent_crc32: str = NO_PARENT,
) -> EpochRecord:
    """Whose parent is of no account unless somebody reads it from a disk."""
    return EpochRecord(
        format=1,
        epoch=epoch,
        parent_crc32=parent_crc32,
        unix_ms=0,
        by="server",
        add=add,
        void=void,
        revert_to=revert_to,
        base=base,
        dense=dense,
        hold=hold,
        variants=None if variants is None else dict(variants),
    )
