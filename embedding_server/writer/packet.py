"""A packet's directory: its name, its marker, and whether it is what was written. See docs/formats/packet.md."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime as DateTime
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np

from persia._core import IncReader
from persia.errors import InvalidInput

from ..sign_files import DELETIONS, ENDS, read_sign_file
from .manifest import MANIFEST, PACKET_FILES, ROWS, Manifest, check_content, check_manifest

MARKER = "inc_update_done"
_NAME = re.compile(r"inc_(\d{14})")
_TIME = "%Y%m%d%H%M%S"


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


def verify_packet(directory: Path) -> PacketInfo:
    """Reads every byte of a packet and compares it with the manifest, if it has one.

    Raises:
        CorruptFile: naming file and byte.
        OSError: the directory cannot be read.
    """
    manifest = check_manifest(directory)
    rows_by_dim: Counter[int] = Counter()
    files = sorted(path for path in directory.iterdir() if path.suffix in PACKET_FILES)
    seconds = non_finite = 0
    signs = {DELETIONS: 0, ENDS: 0}

    for path in files:
        if path.suffix != ROWS:
            file = read_sign_file(path)
            signs[path.suffix] += len(file.signs)
            seconds = max(seconds, file.unix_seconds)
            check_content(manifest, path, len(file.signs), file.unix_seconds, 8)
            continue
        reader = IncReader(path)
        for _, dims, _, _ in reader:
            rows_by_dim.update(dict(zip(*(part.tolist() for part in np.unique(dims, return_counts=True)), strict=True)))
        seconds = max(seconds, reader.unix_seconds)
        non_finite += reader.non_finite
        check_content(manifest, path, reader.rows, reader.unix_seconds, path.stat().st_size - 8)
    return PacketInfo(
        directory=str(directory),
        complete=(directory / MARKER).exists(),
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


def packet_name(unix_seconds: float, last: str | None) -> str:
    """The name of a packet: its local time, or the second after the last packet's name if that is not later.

    So names stand in the order of the packets also for two packets of one second, in the hour that comes twice when
    summer time ends, and after the clock was set back. The true time is in the files.
    """
    now = DateTime.fromtimestamp(unix_seconds).strftime(f"inc_{_TIME}")
    if last is None or now > last:
        return now
    try:
        return (_time_of(last) + timedelta(seconds=1)).strftime(f"inc_{_TIME}")
    except OverflowError:
        raise InvalidInput(f"expected packets before the year 10000, got {last}") from None


def is_packet_name(name: str) -> bool:
    """Whether a name is of the form that trainers use."""
    try:
        _time_of(name)
    except ValueError:
        return False
    return True


def _time_of(name: str) -> DateTime:
    digits = _NAME.fullmatch(name)
    if digits is None:
        raise InvalidInput(f"expected inc_ and 14 digits, got {name!r}")
    return DateTime.strptime(digits[1], _TIME)


__all__ = ["MANIFEST", "MARKER", "PacketInfo", "is_packet_name", "packet_name", "verify_packet"]
