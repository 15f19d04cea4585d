"""What lies in a checkpoint or a directory of packets, and what is wrong with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np

from persia._core import EmbReader
from persia.errors import CorruptFile, InvalidInput
from persia.formats.checkpoint import survey_checkpoint, tree_of_checkpoint
from persia.formats.layout import (
    ENDS,
    MANIFEST,
    PACKET_FILES,
    PACKET_LIKE,
    PACKET_MARKER,
    dumped_shards,
    emb_files_there,
    shard_directories,
)
from persia.formats.marker import Marker
from persia.formats.sign_files import read_sign_file
from persia.formats.verification import PacketInfo, verify_packet
from persia.signs import shard_of
from persia.storage import Entry, Place, Store
from persia.storage.fetching import fetch


class FileReport(msgspec.Struct, frozen=True):
    """`elsewhere`: rows of signs that belong to another shard; no server asks this one for them.

    `non_finite`: rows with NaN or infinite numbers; `ends`: rows with a time to live, in the `.ttl` file beside it.
    """

    path: str
    bytes: int
    rows: int = 0
    rows_by_dim: dict[int, int] = {}
    elsewhere: int = 0
    non_finite: int = 0
    ends: int = 0
    error: str | None = None


class CheckpointReport(msgspec.Struct, frozen=True):
    """`problems` keep a server from loading it."""

    path: str
    marker: Marker | None
    shards: int
    rows: int
    rows_by_dim: dict[int, int]
    bytes: int
    non_finite: int
    files: list[FileReport]
    problems: list[str]


class PacketReport(msgspec.Struct, frozen=True):
    """`error` says why a packet that has its marker cannot be applied; one without may still be in the making."""

    path: str
    complete: bool
    info: PacketInfo | None
    error: str | None = None


AtHand = Callable[[Path], AbstractContextManager[Path]]


_CHECKPOINT_DECODER = msgspec.json.Decoder(CheckpointReport)
_PACKET_DECODER = msgspec.json.Decoder(PacketReport)


def inspect_checkpoint_at(place: Place, workers: int = 4) -> CheckpointReport:
    """As inspect_checkpoint(), also of one in a store: each of its files is fetched for as long as it is read."""
    if place.path is not None:
        return inspect_checkpoint(place.path, workers)
    with tree_of_checkpoint(place, workers=workers) as tree:
        report = inspect_checkpoint(tree.root, workers, at_hand=tree.fetched)
        # Whatever names a file of the skeleton means the one in the store.
        text = msgspec.json.encode(report).decode().replace(str(tree.root), tree.store.url)
        return _CHECKPOINT_DECODER.decode(text)


def inspect_checkpoint(
    directory: Path, workers: int = 4, progress: Callable[[], None] = lambda: None, at_hand: AtHand = nullcontext
) -> CheckpointReport:
    """Reads every byte. `progress` is called after each file; at_hand: as a Checkpoint has it.

    Raises:
        OSError: there is no such directory, or it cannot be read.
    """
    survey = survey_checkpoint(directory)
    marker = survey.marker
    problems = list(map(str, survey.faults))
    shards = dumped_shards(directory)
    jobs = [
        (file, shard, marker.num_shards if marker else len(shards))
        for shard, path in shards.items()
        for file in emb_files_there(path)
    ]

    reports = []
    with ThreadPoolExecutor(workers) as pool:
        for report in pool.map(partial(_inspect_file, at_hand), *zip(*jobs, strict=True)) if jobs else ():
            reports.append(report)
            progress()
    problems += [report.error for report in reports if report.error]
    rows_by_dim = sum((Counter(report.rows_by_dim) for report in reports), Counter())
    return CheckpointReport(
        path=str(directory),
        marker=marker,
        shards=len(shards),
        rows=rows_by_dim.total(),
        rows_by_dim=dict(sorted(rows_by_dim.items())),
        bytes=sum(report.bytes for report in reports),
        non_finite=sum(report.non_finite for report in reports),
        files=reports,
        problems=problems,
    )


def inspect_packets_at(place: Place) -> list[PacketReport]:
    """As inspect_packets(), also of packets in a store: each is fetched for as long as it is read."""
    if place.path is not None:
        return inspect_packets(place.path)
    store = place.open()
    packets: dict[str, list[Entry]] = defaultdict(list)
    for entry in store.list_files():
        directory, _, name = entry.name.rpartition("/")
        if _is_packet_file(name) and (not directory or PACKET_LIKE.fullmatch(directory.rpartition("/")[2])):
            packets[directory].append(entry)
    if not packets:
        raise InvalidInput(f"expected a packet, or a directory with packets or with s0, s1, ..., got {store.url}")
    return [_inspect_stored(store, directory, entries) for directory, entries in sorted(packets.items())]


def _inspect_stored(store: Store, directory: str, entries: list[Entry]) -> PacketReport:
    name = (directory or store.url).rpartition("/")[2]  # which its manifest has, too
    with TemporaryDirectory(prefix="persia-inspected-") as scratch:
        here = Path(scratch, name)
        here.mkdir()
        try:
            for entry in entries:
                fetch(store, entry, here / entry.name.rpartition("/")[2])
        except OSError as error:
            complete = any(entry.name.endswith(PACKET_MARKER) for entry in entries)
            return PacketReport(store.url_of(directory), complete, None, str(error))
        text = msgspec.json.encode(_inspect_packet(here)).decode().replace(str(here), store.url_of(directory))
        return _PACKET_DECODER.decode(text)


def inspect_packets(directory: Path) -> list[PacketReport]:
    """Of a packet's directory, of a training shard's, or of a whole incremental_dir: the packets, in the order of names.

    Raises:
        InvalidInput: there is no packet in it.
        OSError: there is no such directory, or it cannot be read.
    """
    if _is_packet(directory):
        return [_inspect_packet(directory)]
    shards = list(shard_directories(directory).values()) or [directory]
    packets = [
        path for shard in shards for path in sorted(shard.iterdir()) if PACKET_LIKE.fullmatch(path.name) and path.is_dir()
    ]
    if not packets and shards == [directory]:
        raise InvalidInput(f"expected a packet, or a directory with packets or with s0, s1, ..., got {directory}")
    return [_inspect_packet(path) for path in packets]


def _is_packet(directory: Path) -> bool:
    return any(_is_packet_file(path.name) for path in directory.iterdir())


def _is_packet_file(name: str) -> bool:
    return name.endswith(PACKET_FILES) or name in (MANIFEST, PACKET_MARKER)


def _inspect_packet(directory: Path) -> PacketReport:
    complete = (directory / PACKET_MARKER).exists()
    try:
        return PacketReport(str(directory), complete, verify_packet(directory))
    except (CorruptFile, OSError) as error:
        return PacketReport(str(directory), complete, None, str(error))


def _inspect_file(at_hand: AtHand, path: Path, shard: int, shards: int) -> FileReport:
    size = path.stat().st_size
    rows_by_dim: Counter[int] = Counter()
    elsewhere = ends = 0
    try:
        with at_hand(path) as here:
            reader = EmbReader(here)
            for signs, dims, _, _ in reader:
                rows_by_dim.update(dict(zip(*(part.tolist() for part in np.unique(dims, return_counts=True)), strict=True)))
                elsewhere += int(np.count_nonzero(shard_of(signs, shards) != shard))
        if (beside := path.with_suffix(ENDS)).exists():
            ends = len(read_sign_file(beside).signs)
    except (CorruptFile, OSError) as error:
        return FileReport(str(path), size, error=str(error))
    by_dim = dict(sorted(rows_by_dim.items()))
    return FileReport(str(path), size, rows_by_dim.total(), by_dim, elsewhere, reader.non_finite, ends)
