"""What servers with epochs have of a directory of packets, without servers around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from persia import _core
from persia.embedding_server.expiry import Expiring
from persia.embedding_server.loading import load_checkpoint
from persia.embedding_server.non_finite import NonFiniteTally
from persia.embedding_server.updates.epoch_builder import EpochBuilder
from persia.embedding_server.updates.epoch_updater import EpochUpdater
from persia.embedding_server.updates.finder import Finder
from persia.embedding_server.updates.journal import Journal
from persia.formats.bounds import Bounds
from persia.formats.checkpoint import open_checkpoint
from persia.formats.epoch_log import EpochLog
from persia.variant import variant_key
from tests.support.persia_packets import DIM, START


class EpochFollower:
    """One server. Another one of the same directory is a replica, or the server after a restart."""

    def __init__(
        self,
        root: Path,
        since: int = 0,
        name: str = "replica_0_of_1.jsonl",
        shard: tuple[int, int] = (0, 1),
        checkpoint: Path | None = None,
    ) -> None:
        """since: up to which second after START a checkpoint has packets; 0: none. checkpoint: whose rows are in its table."""
        rows, loaded = _core.TableBuilder(), None
        if checkpoint is not None:
            loaded = open_checkpoint(checkpoint, *shard)
            load_checkpoint(loaded, rows, *shard, 1)
        self.table = _core.Table(rows)
        bounds = Bounds(START + since if since else 0)
        self.expiring = Expiring(self.table, "f32")
        builder = EpochBuilder(self.table, "f32", shard, root, bounds, self.expiring, NonFiniteTally(), loaded)
        self.clock = 1e6
        self.between_looks = 100.0  # seconds of the finder's clock: each look is at everything
        self.log = EpochLog(root)
        self.updater = EpochUpdater(builder, self.log, Finder(root, self._later), Journal(root / ".applied" / name), bounds)

    def _later(self) -> float:
        self.clock += self.between_looks
        return self.clock

    def start(self) -> EpochFollower:
        self.updater.catch_up()
        return self

    def scan(self) -> int:
        """Returns the epoch afterwards."""
        self.updater.scan()
        return self.epoch

    @property
    def epoch(self) -> int:
        return self.table.status().epoch

    @property
    def stalled(self) -> str:
        return self.updater.epochs().stalled

    def values(self, *signs: int, epoch: int = 0, variant: str = "") -> list[float]:
        """The first number of the row of each sign; 0.0 where there is none."""
        snapshot = self.table.pin_epoch(epoch)
        assert snapshot is not None, f"epoch {epoch} is not there"
        return [float(row[0]) for row in snapshot.rows(np.array(signs, np.uint64), DIM, variant_key(variant))[0]]
