"""One shard's life: load the checkpoint, catch up on packets, serve, follow packets, stop."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from persia import _core
from persia.checkpoint_id import checkpoint_text
from persia.dense_version import keyed_changes
from persia.errors import CorruptFile
from persia.formats.bounds import Bounds
from persia.formats.checkpoint import Checkpoint, open_checkpoint_at
from persia.formats.identity import identify
from persia.formats.layout import journal_path
from persia.misses import MissReporter, MissWatcher
from persia.rpc.wire import MAX_MESSAGE_BYTES
from persia.serving.feature_totals import feature_messages
from persia.v1 import embedding_pb2 as pb
from persia.variant import keyed_variants, variant_key

from .loading import estimate, load_checkpoint
from .non_finite import NonFiniteTally
from .options import ShardOptions
from .updates.journal import Journal, State

if TYPE_CHECKING:
    from persia.formats.epoch_history import EpochHistory

    from .expiry import Expiring
    from .updates.follower import Follower
    from .updates.thread import UpdateThread

__all__ = ["LOOKUP_SECONDS", "MAX_NUMBERS", "ShardOptions", "ShardServer"]

log = logging.getLogger(__name__)

# An answer that gRPC would refuse to send is refused before it is made.
MAX_NUMBERS = MAX_MESSAGE_BYTES // 4 - 1024
# For how long the newest epoch that a version of a dense model may read is kept after somebody has asked about the version, who
# asks again and again: so long a process may stand still.
DENSE_SECONDS = 30.0
# What lookups are told apart by in the metrics: from what one of a few ids takes to what nobody waits for.
LOOKUP_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class ShardServer:
    """`table` is None and `ready` False until load() has returned."""

    def __init__(self, options: ShardOptions) -> None:
        self.options = options
        self.table: _core.Table | None = None
        self.ready = False
        self.start_number = secrets.randbits(63) + 1  # tells the versions of this start from those of others
        self.lookups = _core.net.LookupContext(
            options.index, options.count, self.start_number, MAX_NUMBERS, LOOKUP_SECONDS, list(options.dims)
        )
        self.checkpoint_id = self.checkpoint_seconds = 0  # 0: the table was loaded from none
        self.non_finite = NonFiniteTally(options.refuse_non_finite)
        self._watcher = MissWatcher(self._make_reporter())
        self._updates: UpdateThread | None = None
        self._expiring: Expiring | None = None

    def __repr__(self) -> str:
        place = f"{self.options.index} of {self.options.count}"
        return f"<ShardServer {place}: {self.state}, checkpoint {self.checkpoint_id:016x}, {self._updates!r}>"

    @property
    def state(self) -> str:
        """What it does, in words."""
        return self.lookups.state

    @state.setter
    def state(self, state: str) -> None:
        self.lookups.set_state(state)

    @property
    def updater(self) -> Follower | None:
        """None while it follows no packets."""
        return None if self._updates is None else self._updates.updater

    def load(self) -> None:
        """Ends with a table that has the checkpoint and every packet since. Raises CorruptFile, OSError."""
        journal = self._open_journal()
        builder = _core.TableBuilder(self.options.storage, self.options.capacity, self.options.retained_epochs)
        checkpoint = self._load_checkpoint(builder)
        self.table = _core.Table(builder)
        self._follow(self.table, checkpoint, journal)
        self.state = "serving"
        self.ready = True
        self.lookups.open(self.table, self.checkpoint_id)
        self._watcher.start()

    def _open_journal(self) -> Journal | None:
        options = self.options
        if options.incremental_dir is None:
            return None
        journal = Journal(journal_path(options.incremental_dir, *options.place), shared=True)
        # Before the checkpoint is opened: what an earlier run had, this one does not have yet, and others may prune by it.
        with suppress(OSError):  # is said when the updater meets it
            journal.say(State("starting"))
        return journal

    def _load_checkpoint(self, builder: _core.TableBuilder) -> Checkpoint | None:
        options, began = self.options, time.monotonic()
        if options.checkpoint is None:
            return None
        self.state = f"loading {options.checkpoint}"
        checkpoint = open_checkpoint_at(options.checkpoint, options.buffer, options.requests, *options.place, options.workers)
        self._make_room(checkpoint, builder)
        identity = identify(checkpoint, options.workers)
        belong = load_checkpoint(checkpoint, builder, *options.place, options.workers, self.non_finite)
        # Of a checkpoint in a store, load_checkpoint() has compared all that the store says.
        if checkpoint.tree is None and identify(checkpoint, options.workers) != identity:
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
        log.info("loading took %.1f s", time.monotonic() - began)
        return checkpoint

    def _make_room(self, checkpoint: Checkpoint, builder: _core.TableBuilder) -> None:
        options = self.options
        need = estimate(checkpoint, options.storage, *options.place)
        kept = min(need.rows, options.capacity or need.rows)
        log.info(
            "loading %d files of %s: about %d rows for this shard, about %.1f GiB%s",
            len(checkpoint.files),
            checkpoint,
            kept,
            need.bytes * kept / max(need.rows, 1) / 2**30,
            f"; about {need.rows - kept} rows are over the capacity" if kept < need.rows else "",
        )
        # A little less than the guess: what is missing grows by itself, what is too much would stay.
        builder.reserve(round(kept * 0.98))

    def _follow(self, table: _core.Table, checkpoint: Checkpoint | None, journal: Journal | None) -> None:
        """Rows end and packets are applied from now on; all packets that are there are applied when this returns."""
        from . import following  # imports numpy and watchdog, for which reading a checkpoint need not wait

        options = self.options
        self._expiring = following.make_expiring(table, options, checkpoint.ends if checkpoint else ())
        if journal is not None:
            self.state = f"catching up with {options.packets or options.incremental_dir}"
            bounds = checkpoint.bounds if checkpoint else Bounds()
            self._updates = following.make_updates(
                table,
                options,
                bounds,
                journal,
                self._expiring,
                self.non_finite,
                checkpoint,
                self._take_readable,
            )
            self._updates.updater.catch_up()
            self._updates.start()
        self._expiring.sweep()
        self._expiring.start()

    def _take_readable(self, history: EpochHistory) -> None:
        """What the records say of dense models and variants."""
        self.lookups.set_readable(keyed_changes(history.dense_changes), keyed_variants(history.variants.changes))

    def _variants(self) -> dict[int, str]:
        """The names of those of the newest epoch, by their keys."""
        epochs = None if self.updater is None else self.updater.epochs()
        return {} if epochs is None else {variant_key(name): name for name in epochs.variants}

    def _make_reporter(self) -> MissReporter:
        def dims_there() -> dict[int, int]:
            return self.table.status().base_rows_by_dim if self.table is not None else {}

        return MissReporter(self.lookups.features.totals, self.options.dims, dims_there)

    def stop(self) -> None:
        self.lookups.close()
        self.ready = False
        self.state = "stopping"
        self._watcher.stop()
        if self._updates is not None:
            self._updates.stop()
        if self._expiring is not None:
            self._expiring.stop()

    def readable_epochs(self, askers: Iterable[pb.RowsFor]) -> list[pb.EpochRun]:
        """The epochs that may be read for each, of which the newest ones stay readable for a while."""
        if self.table is None:
            return [pb.EpochRun() for _ in askers]
        now, variants, epochs = self.table.status(), self._variants(), []
        for one in askers:
            first, last = 0, 0
            if not one.variant or one.variant in variants:  # an ended one is not kept
                rows_for = one.model, one.version, one.variant
                first, last = self.lookups.readable_run(rows_for, now.epoch_low, now.epoch)
            if 0 < last < now.epoch:
                self.table.hold_epoch(last, DENSE_SECONDS)
            epochs.append(pb.EpochRun(first=first, last=last))
        return epochs

    def status(self) -> pb.StatusResponse:
        options, table, updater = self.options, self.table, self.updater
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
            response.bytes = now.base_bytes + now.layer_bytes + now.retained_bytes + now.variant_bytes
            response.epoch, response.epoch_low = now.epoch, now.epoch_low
            response.retained_bytes, response.epochs_given_up = now.retained_bytes, now.epochs_given_up
            variants = self._variants()
            for key, own in now.variants.items():
                if name := variants.get(key):
                    response.variants.add(name=name, rows=own.rows, bytes=own.bytes)
        response.non_finite_rows = self.non_finite.rows
        if self._expiring is not None:
            response.deleted_rows, response.expired_rows = self._expiring.deleted_rows, self._expiring.expired_rows
        if updater is not None:
            response.packets_applied = updater.packets_applied
            response.last_packet = updater.last_packet
            response.problems.extend(updater.problems.texts())
            for packet, reason in sorted(updater.ledger.set_aside().items()):
                response.set_aside.append(pb.SetAsidePacket(packet=packet, reason=reason))
            if (epochs := updater.epochs()) is not None:
                response.newest_epoch, response.epochs_held = epochs.newest, epochs.held
                response.epoch_stalled, response.epoch_stalled_seconds = epochs.stalled, epochs.stalled_seconds
                response.packets_waiting = epochs.waiting
        return response
