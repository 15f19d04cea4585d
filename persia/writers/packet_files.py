"""The files of a packet, and its manifest, wherever the packet is to lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from persia._core import write_inc
from persia.formats.layout import DELETIONS, ENDS, ROWS
from persia.formats.manifest import Manifest, ManifestFile, describe_file
from persia.formats.sign_files import write_sign_file

from .buckets import F32, U64
from .row_buffer import Change

__all__ = ["manifest_of", "write_packet_files"]


def write_packet_files(draft: Path, shard: int, changes: list[Change], seconds: int, rows_per_file: int) -> list[ManifestFile]:
    """Writes the changes, one for each sign, to a directory. Raises OSError.

    A file with rows is always there, be it without any: whoever looks only at these sees a packet.
    """
    files = []
    blocks = [(change.signs, change.rows) for change in changes if change.rows is not None]
    for number, part in enumerate(_parts(blocks, rows_per_file)):
        path = draft / f"{shard}_{number}{ROWS}"
        write_inc(path, part, seconds)
        files.append(describe_file(path, sum(len(signs) for signs, _ in part)))
    deleted = [change.signs for change in changes if change.rows is None]
    if deleted:
        files.append(_write_signs(draft / f"{shard}_0{DELETIONS}", seconds, np.concatenate(deleted)))
    limited = [(change.signs[change.ends > 0], change.ends[change.ends > 0]) for change in changes if change.ends is not None]
    if limited:
        signs, ends = (np.concatenate(column) for column in zip(*limited, strict=True))
        if len(signs):
            files.append(_write_signs(draft / f"{shard}_0{ENDS}", seconds, signs, ends))
    return files


def _write_signs(path: Path, seconds: int, signs: U64, ends: U64 | None = None) -> ManifestFile:
    write_sign_file(path, signs, seconds, ends)
    return describe_file(path, len(signs))


def manifest_of(name: str, shard: int, last: Manifest | None, seconds: int, files: list[ManifestFile]) -> Manifest:
    """Of the packet that follows on the last one."""
    return Manifest(
        format=1 if all(file.name.endswith(ROWS) for file in files) else 2,  # so that servers of before read it
        packet=name,
        shard=shard,
        sequence=last.sequence + 1 if last else 0,
        unix_seconds=seconds,
        rows=sum(file.rows for file in files if file.name.endswith(ROWS)),
        files=tuple(files),
    )


def _parts(blocks: list[tuple[U64, F32]], size: int) -> list[list[tuple[U64, F32]]]:
    """The rows in parts of at most so many, as views."""
    parts: list[list[tuple[U64, F32]]] = [[]]
    room = size
    for signs, rows in blocks:
        start = 0
        while start < len(signs):
            if not room:
                parts.append([])
                room = size
            end = min(len(signs), start + room)
            parts[-1].append((signs[start:end], rows[start:end]))
            room -= end - start
            start = end
    return parts
