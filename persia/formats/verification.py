"""Whether a packet is what its writer wrote: every byte is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from persia._core import IncReader

from .layout import DELETIONS, ENDS, PACKET_FILES, PACKET_MARKER, ROWS
from .manifest import Manifest, check_content, check_manifest
from .sign_files import SECONDS_AT, read_sign_file

__all__ = ["PacketInfo", "files_of_packet", "verify_packet"]


class PacketInfo(msgspec.Struct, frozen=True):
    """`complete`: the marker is there. `unix_seconds` is the latest of the files', 0 without any."""

    directory: str
    complete: bool
    files: int
    bytes: int
    rows: int
    rows_by_dim: dict[int, int]
    unix_seconds: int
    manifest: Manifest | None
    deletions: int = 0
    ends: int = 0  # rows with a time to live
    non_finite: int = 0  # rows with NaN or infinite numbers


def files_of_packet(directory: Path) -> list[Path]:
    """Its files as they are now, in their order; more may come. Raises OSError."""
    return sorted(path for path in directory.iterdir() if path.suffix in PACKET_FILES)


def verify_packet(directory: Path, files: Sequence[Path] | None = None) -> PacketInfo:
    """Reads every byte of a packet and compares it with the manifest, if it has one. files: those that count; None: all.

    Raises:
        CorruptFile: naming file and byte.
        OSError: the directory cannot be read.
    """
    manifest = check_manifest(directory)
    rows_by_dim: Counter[int] = Counter()
    files = files_of_packet(directory) if files is None else files
    seconds = non_finite = 0
    signs = {DELETIONS: 0, ENDS: 0}

    for path in files:
        if path.suffix != ROWS:
            file = read_sign_file(path)
            signs[path.suffix] += len(file.signs)
            seconds = max(seconds, file.unix_seconds)
            check_content(manifest, path, len(file.signs), file.unix_seconds, time_at=SECONDS_AT)
            continue
        reader = IncReader(path)
        for _, dims, _, _ in reader:
            rows_by_dim.update(dict(zip(*(part.tolist() for part in np.unique(dims, return_counts=True)), strict=True)))
        seconds = max(seconds, reader.unix_seconds)
        non_finite += reader.non_finite
        check_content(manifest, path, reader.rows, reader.unix_seconds, time_at=path.stat().st_size - 8)
    return PacketInfo(
        directory=str(directory),
        complete=(directory / PACKET_MARKER).exists(),
        files=len(files),
        bytes=sum(path.stat().st_size for path in files),
        rows=rows_by_dim.total(),
        rows_by_dim=dict(sorted(rows_by_dim.items())),
        unix_seconds=seconds,
        manifest=manifest,
        deletions=signs[DELETIONS],
        ends=signs[ENDS],
        non_finite=non_finite,
    )
