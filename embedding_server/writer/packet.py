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
from persia.errors import CorruptFile, InvalidInput

from .manifest import MANIFEST, Manifest, check_manifest

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


def verify_packet(directory: Path) -> PacketInfo:
    """Reads every byte of a packet and compares it with the manifest, if it has one.

    Raises:
        CorruptFile: naming file and byte.
        OSError: the directory cannot be read.
    """
    manifest = check_manifest(directory)
    expected = {} if manifest is None else {file.name: file.rows for file in manifest.files}
    rows_by_dim: Counter[int] = Counter()
    files = sorted(path for path in directory.iterdir() if path.suffix == ".inc")
    seconds = 0
    for path in files:
        reader = IncReader(path)
        for _, dims, _, _ in reader:
            rows_by_dim.update(dict(zip(*(part.tolist() for part in np.unique(dims, return_counts=True)), strict=True)))
        seconds = max(seconds, reader.unix_seconds)
        if manifest is None:
            continue
        if reader.rows != expected[path.name]:
            raise CorruptFile(str(path), f"{expected[path.name]} rows, by the manifest", f"{reader.rows}", 0)
        if reader.unix_seconds != manifest.unix_seconds:
            at = path.stat().st_size - 8
            raise CorruptFile(str(path), f"{manifest.unix_seconds} s, by the manifest", f"{reader.unix_seconds}", at)
    return PacketInfo(
        directory=str(directory),
        complete=(directory / MARKER).exists(),
        files=len(files),
        bytes=sum(path.stat().st_size for path in files),
        rows=rows_by_dim.total(),
        rows_by_dim=dict(sorted(rows_by_dim.items())),
        unix_seconds=seconds,
        manifest=manifest,
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
