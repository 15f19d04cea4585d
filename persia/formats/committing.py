"""What a commit record says of a packet, or of a checkpoint: every byte is read before it is said."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from persia._core import summarize_emb
from persia.checkpoint_id import checkpoint_name
from persia.errors import CorruptFile, InvalidInput
from persia.storage import Place, place_of
from persia.variant import variant_key

from .checkpoint import open_checkpoint_at
from .epoch import CommittedCheckpoint, CommittedFile, CommittedPacket
from .identity import identify
from .layout import ENDS, PACKET_LIKE, PACKET_MARKER, SHARD_LIKE, variant_directory
from .manifest import Manifest, describe_file
from .sign_files import read_sign_file
from .verification import files_of_packet, verify_packet

__all__ = ["committed_checkpoint", "committed_files", "committed_packet", "packets_of_variant"]

_WORKERS = 2  # that read files of a checkpoint: servers work beside them


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


def committed_checkpoint(where: str | Path, relative_to: Path | None = None) -> CommittedCheckpoint:
    """A checkpoint in a directory or at a URL, for a record.

    relative_to: the `incremental_dir`, for servers to which both directories lie elsewhere; None: the record has the absolute
    path, without links, for a link may lead to another checkpoint tomorrow.

    Raises:
        CorruptFile: it is not complete, broken, or changes meanwhile.
        InvalidInput: the URL is of no store that is known.
        OSError: it cannot be read.
    """
    place = place_of(where)
    if place.path is not None:
        directory = place.path.resolve()
        place = Place(str(directory), directory)
    checkpoint = open_checkpoint_at(place)
    identity = identify(checkpoint, _WORKERS)

    def check(path: Path) -> None:
        with checkpoint.at_hand(path) as here:
            summarize_emb(here)

    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="check") as pool:
        for _checked in pool.map(check, checkpoint.files):
            pass
    for path in checkpoint.ends:
        read_sign_file(path)
    if not checkpoint.is_still() or (checkpoint.tree is None and identify(checkpoint, _WORKERS) != identity):
        raise CorruptFile(place.text, "a checkpoint that stays as it is", "one that changed while it was read", 0)
    text = place.text
    if place.path is not None and relative_to is not None:
        text = os.path.relpath(place.path, relative_to.resolve())
    return CommittedCheckpoint(text, checkpoint_name(identity), checkpoint.marker.seconds, checkpoint.bounds.by_shard)


def packets_of_variant(incremental_dir: Path, variant: str, directories: Iterable[Path]) -> tuple[CommittedPacket, ...]:
    """Packets that lie in the directory of a variant, for a record.

    Raises:
        InvalidInput: no variant can have that name, or a directory is not that of a complete packet of the variant.
        CorruptFile, OSError: a packet is broken.
    """
    variant_key(variant)
    root = variant_directory(incremental_dir, variant)
    committed = []
    for directory in directories:
        if directory.parent.parent.absolute() != root.absolute():
            raise InvalidInput(f"expected a packet of variant {variant}, which lies in {root}, got {directory}")
        packet = committed_packet(directory)
        if ends := [file.name for file in packet.files if file.name.endswith(ENDS)]:
            raise InvalidInput(
                f"expected a packet without times to live, for rows of a variant have none, got {directory / ends[0]}"
            )
        committed.append(packet)
    return tuple(committed)


def committed_files(directory: Path, names: list[str], manifest: Manifest | None) -> tuple[CommittedFile, ...]:
    """Files of a packet. manifest: the packet's, if it has one and the files were held against it. Raises OSError."""
    known = {} if manifest is None else {file.name: file for file in manifest.files}
    files = (known[name] if name in known else describe_file(directory / name, 0) for name in names)
    return tuple(CommittedFile(file.name, file.bytes, file.crc32) for file in files)
