"""What servers with epochs have of a directory of packets, without servers around it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from persia.embedding_server.base import Base
from persia.embedding_server.expiry import Expiring
from persia.embedding_server.non_finite import NonFiniteTally
from persia.embedding_server.options import ShardOptions
from persia.embedding_server.starting import load_table
from persia.embedding_server.updates.epoch_builder import EpochBuilder
from persia.embedding_server.updates.epoch_updater import EpochUpdater
from persia.embedding_server.updates.finder import Finder
from persia.embedding_server.updates.journal import Journal
from persia.formats.bounds import Bounds
from persia.formats.epoch_log import EpochLog
from persia.formats.sign_files import read_sign_file
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
        capacity: int = 0,
        retained_epochs: int = 8,
        retained_share: float = 0.1,
    ) -> None:
        """since: up to which second after START a checkpoint has packets; 0: none. checkpoint: whose rows are in its table.

        What a server with these settings loads at its start, it has: a checkpoint that a record names goes before `checkpoint`.
        """
        options = ShardOptions(
            *shard,
            checkpoint,
            root,
            capacity=capacity,
            workers=1,
            epochs=True,
            retained_epochs=retained_epochs,
            retained_share=retained_share,
        )
        self.table, base = load_table(options, NonFiniteTally())
        if since:
            base = replace(base, bounds=Bounds(START + since))
        self.expiring = Expiring(self.table, "f32")
        for path in base.checkpoint.ends if base.checkpoint else ():
            file = read_sign_file(path)
            assert file.ends is not None
            self.expiring.set(file.signs, file.ends, shard)
        self.bases: list[tuple[int, Base]] = [(0, base)]  # each from an epoch on
        builder = EpochBuilder(
            self.table, options, base, self.expiring, NonFiniteTally(), lambda epoch, base: self.bases.append((epoch, base))
        )
        self.clock = 1e6
        self.between_looks = 100.0  # seconds of the finder's clock: each look is at everything
        self.log = EpochLog(root)
        journal = Journal(root / ".applied" / name)
        self.updater = EpochUpdater(builder, self.log, Finder(root, self._later), journal, base.bounds)

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

    def retry(self) -> None:
        """What could not be built is tried again by the next scan, however soon that comes."""
        self.updater._tried = (self.updater._tried[0], 0.0)

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
