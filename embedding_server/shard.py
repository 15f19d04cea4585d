"""One shard's life: load the checkpoint, catch up on packets, serve, follow packets, stop."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from persia import _core
from persia.checkpoint_id import checkpoint_text
from persia.errors import CorruptFile
from persia.misses import MissReporter, MissWatcher
from persia.rpc.limits import MAX_MESSAGE_BYTES
from persia.serving.feature_totals import feature_messages
from persia.v1 import embedding_pb2 as pb

from .bounds import Bounds
from .checkpoint import Checkpoint, estimate, load_checkpoint, open_checkpoint
from .identity import identify
from .journal import Journal, State
from .non_finite import NonFiniteTally
from .options import ShardOptions

if TYPE_CHECKING:
    from .applying import Applier
    from .expiry import Expiring
    from .updates import Updater

__all__ = ["LOOKUP_SECONDS", "MAX_NUMBERS", "ShardOptions", "ShardServer"]

log = logging.getLogger(__name__)

# An answer that gRPC would refuse to send is refused before it is made.
MAX_NUMBERS = MAX_MESSAGE_BYTES // 4 - 1024
# What lookups are told apart by in the metrics: from what one of a few ids takes to what nobody waits for.
LOOKUP_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class ShardServer:
    """`table` is None and `ready` False until load() has returned."""

    def __init__(self, options: ShardOptions) -> None:
        self.options = options
        self.place = options.index, options.count
        self.table: _core.Table | None = None
        self.ready = False
        self.start_number = secrets.randbits(63) + 1  # tells the versions of this start from those of others
        self.lookups = _core.net.LookupContext(
            options.index, options.count, self.start_number, MAX_NUMBERS, LOOKUP_SECONDS, list(options.dims)
        )
        self.checkpoint_id = self.checkpoint_seconds = 0  # 0: the table was loaded from none
        self._watcher = MissWatcher(self._make_reporter())
        self._updater: Updater | None = None
        self._expiring: Expiring | None = None
        self.non_finite = NonFiniteTally(options.refuse_non_finite)
        self.on_packet: Callable[[float], None] = lambda _delay: None  # seconds from the packet's time to its rows' service

    @property
    def state(self) -> str:
        """What it does, in words."""
        return self.lookups.state

    @state.setter
    def state(self, state: str) -> None:
        self.lookups.set_state(state)

    def load(self) -> None:
        """Ends with a table that has the checkpoint and every packet since. Raises CorruptFile, OSError."""
        options, began = self.options, time.monotonic()
        journal = self._open_journal()
        builder = _core.TableBuilder(options.storage, options.capacity)
        bounds, ends = Bounds(), tuple[Path, ...]()
        if options.checkpoint is not None:
            self.state = f"loading {options.checkpoint}"
            checkpoint = open_checkpoint(options.checkpoint, options.index, options.count)
            self._announce(checkpoint, builder)
            self._load_checkpoint(checkpoint, builder)
            log.info("loading took %.1f s", time.monotonic() - began)
            bounds, ends = checkpoint.bounds, checkpoint.ends
        self.table = _core.Table(builder)
        self._expiring = self._make_expiring(self.table, ends)
        if options.incremental_dir is not None and journal is not None:
            self.state = f"catching up with {options.incremental_dir}"
            applier = self._make_applier(self.table, self._expiring, bounds)
            self._updater = self._make_updater(applier, options.incremental_dir, journal)
            self._updater.catch_up()
            self._updater.on_applied = lambda delay: self.on_packet(delay)
            self._updater.start()
        self._expiring.sweep()
        self._expiring.start()
        self.state = "serving"
        self.ready = True
        self.lookups.open(self.table, self.checkpoint_id)
        self._watcher.start()

    def _load_checkpoint(self, checkpoint: Checkpoint, builder: _core.TableBuilder) -> None:
        options = self.options
        identity = identify(checkpoint, options.workers)
        belong = load_checkpoint(checkpoint, builder, *self.place, options.workers, self.non_finite)
        if identify(checkpoint, options.workers) != identity:
            raise CorruptFile(
                str(checkpoint.directory), "a checkpoint that stays as it is", "one that changed while it was loaded", 0
            )
        self.checkpoint_id, self.checkpoint_seconds = identity, checkpoint.marker.seconds
        if builder.evicted:
            log.warning("%d rows over the capacity of %d were left out", builder.evicted, options.capacity)
        log.info(
            "the table holds %d of the %d rows that this shard has in checkpoint %s",
            builder.rows,
            belong,
            checkpoint_text(identity, checkpoint.marker.seconds),
        )

    def _make_reporter(self) -> MissReporter:
        def dims_there() -> dict[int, int]:
            return self.table.status().base_rows_by_dim if self.table is not None else {}

        return MissReporter(self.lookups.features.totals, self.options.dims, dims_there)

    def _open_journal(self) -> Journal | None:
        options = self.options
        if options.incremental_dir is None:
            return None
        name = f"replica_{options.index}_of_{options.count}.jsonl"
        journal = Journal(options.incremental_dir / ".applied" / name, shared=True)
        # Before the checkpoint is opened: what an earlier run had, this one does not have yet, and others may prune by it.
        with suppress(OSError):  # is said when the updater meets it
            journal.say(State("starting"))
        return journal

    # The imports stand here because the files of a checkpoint need not wait for what packets need.

    def _make_expiring(self, table: _core.Table, ends: tuple[Path, ...]) -> Expiring:
        from .expiry import Expiring
        from .sign_files import read_sign_file

        expiring = Expiring(table, self.options.storage)
        for path in ends:
            file = read_sign_file(path)
            assert file.ends is not None
            expiring.set(file.signs, file.ends, self.place)
        return expiring

    def _make_applier(self, table: _core.Table, expiring: Expiring, bounds: Bounds) -> Applier:
        from .applying import Applier

        return Applier(table, self.options.storage, self.place, bounds, expiring, self.non_finite)

    def _make_updater(self, applier: Applier, root: Path, journal: Journal) -> Updater:
        from .pruning import Pruner
        from .updates import Updater

        options = self.options
        checkpoint = options.checkpoint

        def newest() -> Bounds:
            assert checkpoint is not None
            return open_checkpoint(checkpoint, options.index, options.count).bounds

        pruner = Pruner(root, options.count, options.prune, newest if checkpoint is not None else None)
        return Updater(applier, root, journal, pruner if options.prune else None)

    def _announce(self, checkpoint: Checkpoint, builder: _core.TableBuilder) -> None:
        options = self.options
        need = estimate(checkpoint, options.storage, options.index, options.count)
        kept = min(need.rows, options.capacity or need.rows)
        log.info(
            "loading %d files of %s: about %d rows for this shard, about %.1f GiB%s",
            len(checkpoint.files),
            checkpoint.directory,
            kept,
            need.bytes * kept / max(need.rows, 1) / 2**30,
            f"; about {need.rows - kept} rows are over the capacity" if kept < need.rows else "",
        )
        # A little less than the guess: what is missing grows by itself, what is too much would stay.
        builder.reserve(round(kept * 0.98))

    def stop(self) -> None:
        self.lookups.close()
        self.ready = False
        self.state = "stopping"
        self._watcher.stop()
        if self._updater is not None:
            self._updater.stop()
        if self._expiring is not None:
            self._expiring.stop()

    def status(self) -> pb.StatusResponse:
        options, table, updater = self.options, self.table, self._updater
        response = pb.StatusResponse(
            shard_index=options.index,
            shard_count=options.count,
            ready=self.ready,
            state=self.state,
            checkpoint=str(options.checkpoint or ""),
            server_start=self.start_number,
            checkpoint_id=self.checkpoint_id,
            checkpoint_seconds=self.checkpoint_seconds,
            features=feature_messages(self.lookups.features.totals()),
        )
        if table is not None:
            now = table.status()
            response.version, response.rows, response.evicted = now.version, now.base_rows, now.evicted
            response.rows_by_dim.update(now.base_rows_by_dim)
            response.bytes = now.base_bytes + now.layer_bytes
        response.non_finite_rows = self.non_finite.rows
        if self._expiring is not None:
            response.deleted_rows, response.expired_rows = self._expiring.deleted_rows, self._expiring.expired_rows
        if updater is not None:
            response.packets_applied = updater.packets_applied
            response.last_packet = updater.last_packet
            response.problems.extend(updater.problems.texts())
            for packet, reason in sorted(updater.set_aside.copy().items()):
                response.set_aside.append(pb.SetAsidePacket(packet=packet, reason=reason))
        return response
