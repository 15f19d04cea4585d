"""The names of directories and files.

CHECKPOINT/embedding_dump_done                  marker, the last to be written
CHECKPOINT/checkpoint_id                        random digits, by our writers alone
CHECKPOINT/s{i}/embedding_dump_done             marker of training shard i
CHECKPOINT/s{i}/replica_{i}_shard_{k}.emb       rows; and .ttl beside it

INCREMENTAL_DIR/s{i}/inc_{time}/{i}_{j}.inc     rows; and .del, .ttl
INCREMENTAL_DIR/s{i}/inc_{time}/manifest.json   by our writers alone
INCREMENTAL_DIR/s{i}/inc_{time}/inc_update_done marker, the last to be written
INCREMENTAL_DIR/s{i}/.writer/                   the packet that is being written
INCREMENTAL_DIR/s{i}/.pruned/                   packets that are being deleted
INCREMENTAL_DIR/.applied/replica_{i}_of_{n}.jsonl   journal of the server of shard i of n
INCREMENTAL_DIR/.epochs/{epoch:020}.json            commit record
INCREMENTAL_DIR/.variants/NAME/s{i}/inc_{time}/     packet of a variant, as above
"""

from __future__ import annotations

import re
from pathlib import Path

CHECKPOINT_MARKER = "embedding_dump_done"
CHECKPOINT_ID = "checkpoint_id"
PACKET_MARKER = "inc_update_done"
MANIFEST = "manifest.json"

EMB = ".emb"
ROWS, DELETIONS, ENDS = ".inc", ".del", ".ttl"
PACKET_FILES = (ROWS, DELETIONS, ENDS)

DRAFTS = ".writer"
GRAVE = ".pruned"  # a packet is moved here before its files are deleted: so nobody ever sees a part of it
JOURNALS = ".applied"
EPOCHS = ".epochs"
VARIANTS = ".variants"

# What servers look at. A trainer writes no leading zeros: a checkpoint with some is refused.
SHARD_LIKE = re.compile(r"s(\d+)")
PACKET_LIKE = re.compile(r"inc_\d+")

_SHARD = re.compile(r"s(0|[1-9]\d*)")
_EMB_FILE = re.compile(r"replica_(\d+)_shard_(\d+)\.emb")
_JOURNAL = re.compile(r"replica_(\d+)_of_(\d+)(\.\d+)?\.jsonl")
_RECORD = re.compile(r"(\d{20})\.json")


def shard_directory(root: Path, shard: int) -> Path:
    """Of a checkpoint, or of a directory of packets."""
    return root / f"s{shard}"


def shard_directories(root: Path) -> dict[int, Path]:
    """Those that are there and named as a trainer names them, by number. Raises OSError."""
    found = {int(form[1]): path for path in root.iterdir() if (form := _SHARD.fullmatch(path.name)) and path.is_dir()}
    return dict(sorted(found.items()))


def emb_file(shard_directory: Path, shard: int, number: int) -> Path:
    """The file of rows with that number."""
    return shard_directory / f"replica_{shard}_shard_{number}{EMB}"


def emb_files(shard_directory: Path, shard: int, count: int) -> list[Path]:
    """The files that a training shard with so many of them has."""
    return [emb_file(shard_directory, shard, number) for number in range(count)]


def emb_files_there(shard_directory: Path) -> list[Path]:
    """All files of rows, also misnamed ones, in the order of their numbers. Raises OSError."""
    there = (path for path in shard_directory.iterdir() if path.suffix == EMB and not path.name.startswith("."))
    return sorted(there, key=_emb_order)


def _emb_order(path: Path) -> tuple[int, str]:
    form = _EMB_FILE.fullmatch(path.name)
    return (int(form[2]) if form else -1, path.name)


def dumped_shards(checkpoint: Path) -> dict[int, Path]:
    """The shards' directories that hold something of a checkpoint, by number. Raises OSError."""
    shards = shard_directories(checkpoint)
    return {shard: path for shard, path in shards.items() if (path / CHECKPOINT_MARKER).exists() or emb_files_there(path)}


def variant_directory(incremental_dir: Path, variant: str) -> Path:
    """Below which the packets of a variant lie."""
    return incremental_dir / VARIANTS / variant


def packet_label(shard: int, name: str) -> str:
    """A packet as journals, logs and statuses name it: `s0/inc_20261120070757`."""
    return f"s{shard}/{name}"


def training_shard_of(packet: str) -> int:
    """The number in a packet's label; one that no checkpoint has for a label of another form."""
    form = re.match(r"s(\d+)/", packet)
    return int(form[1]) if form else 1 << 62


def journal_path(incremental_dir: Path, index: int, count: int) -> Path:
    """Of the server of one shard; its replicas find other names beside it."""
    return incremental_dir / JOURNALS / f"replica_{index}_of_{count}.jsonl"


def server_of_journal(name: str) -> tuple[int, int] | None:
    """The shard, index and count, whose server wrote a journal of that name; None if none of ours did."""
    form = _JOURNAL.fullmatch(name)
    return (int(form[1]), int(form[2])) if form else None


def record_path(epochs: Path, epoch: int) -> Path:
    """Of the commit record of an epoch."""
    return epochs / f"{epoch:020}.json"


def epoch_of_record(name: str) -> int | None:
    """The epoch whose record has a file of that name; None if none has."""
    form = _RECORD.fullmatch(name)
    return int(form[1]) if form else None
