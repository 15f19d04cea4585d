"""What one server is to hold, and what it may delete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from persia.storage import Place, Requests

__all__ = ["PruneRules", "ShardOptions"]


@dataclass(frozen=True)
class PruneRules:
    """Which packets may go, of those that are older than the checkpoint. Without any rule, none."""

    older_than: int | None = None  # seconds; a packet of this age may go when all servers have applied it
    before_checkpoint: bool = False  # a packet may go when all servers started from a checkpoint that is newer

    def __bool__(self) -> bool:
        return self.older_than is not None or self.before_checkpoint


@dataclass(frozen=True)
class ShardOptions:
    """No checkpoint: the server starts empty. No incremental_dir: it follows no packets.

    `packets`: the store whose packets are fetched to `incremental_dir`; None: they are written there.
    """

    index: int
    count: int
    checkpoint: Path | Place | None = None
    incremental_dir: Path | None = None
    packets: Place | None = None
    packet_poll_seconds: float = 0.5  # between two looks for new packets in a store
    packet_list_all_seconds: float = 300.0  # between two listings of all packets in a store
    buffer: Path | None = None  # for what is fetched from stores; None: the system's temporary directory
    requests: Requests = field(default_factory=Requests)  # to stores
    storage: str = "f32"
    capacity: int = 0
    workers: int = 4
    epochs: bool = False  # packets are followed by epochs
    retained_epochs: int = 8  # that are kept readable beside the current one
    retained_share: float = 0.1  # of the table's memory, that these may take
    refuse_non_finite: bool = False  # files with a row that has a NaN or an infinite number
    prune: PruneRules = field(default_factory=PruneRules)
    deployment: str = ""  # whose server it is; empty: it is not said
    dims: Mapping[str, int] = field(default_factory=dict)  # of the features that are counted, by the embedding config

    @property
    def place(self) -> tuple[int, int]:
        """Which of how many shards."""
        return self.index, self.count
