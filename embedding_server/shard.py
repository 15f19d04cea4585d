"""One shard's life: load the checkpoint, catch up on packets, serve, follow packets, stop."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from persia import _core
from persia.dense_version import keyed_changes
from persia.formats.layout import journal_path
from persia.misses import MissReporter, MissWatcher
from persia.rpc.wire import MAX_MESSAGE_BYTES
from persia.serving.feature_totals import feature_messages
from persia.v1 import embedding_pb2 as pb
from persia.variant import keyed_variants, variant_key

from .base import Base
from .non_finite import NonFiniteTally
from .options import ShardOptions
from .starting import load_table
from .updates.journal import Journal, State

if TYPE_CHECKING:
    from persia.formats.epoch_history import EpochHistory

    from .expiry import Expiring
    from .updates.follower import Follower
    from .updates.thread import UpdateThread

__all__ = ["LOOKUP_SECONDS", "MAX_NUMBERS", "ShardOptions", "ShardServer"]

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
        self._bases = [(0, Base())]  # of the table's epochs, each from an epoch on
        self.non_finite = NonFiniteTally(options.refuse_non_finite)
        self._watcher = MissWatcher(self._make_reporter())
        self._updates: UpdateThread | None = None
        self._expiring: Expiring | None = None

    def __repr__(self) -> str:
        place = f"{self.options.index} of {self.options.count}"
        return f"<ShardServer {place}: {self.state}, {self.base}, {self._updates!r}>"

    @property
    def base(self) -> Base:
        """The checkpoint of the newest rows."""
        epoch = 0 if self.table is None else self.table.status().epoch
        return next(base for first, base in reversed(self._bases) if first <= epoch)

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
        self.table, base = load_table(self.options, self.non_finite, self.lookups.set_state)
        self._bases = [(0, base)]
        self._follow(self.table, base, journal)
        self.state = "serving"
        self.ready = True
        self.lookups.open(self.table, base.identity)
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

    def _follow(self, table: _core.Table, base: Base, journal: Journal | None) -> None:
        """Rows end and packets are applied from now on; all packets that are there are applied when this returns."""
        from . import following  # imports numpy and watchdog, for which reading a checkpoint need not wait

        options = self.options
        self._expiring = following.make_expiring(table, options, base.checkpoint.ends if base.checkpoint else ())
        if journal is not None:
            self.state = f"catching up with {options.packets or options.incremental_dir}"
            self._updates = following.make_updates(
                table,
                options,
                base,
                journal,
                self._expiring,
                self.non_finite,
                self._begin_base,
                self._take_readable,
            )
            self._updates.updater.catch_up()
            self._updates.start()
        self._expiring.sweep()
        self._expiring.start()

    def _begin_base(self, epoch: int, base: Base) -> None:
        self._bases = [(first, one) for first, one in self._bases if first < epoch] + [(epoch, base)]
        self.lookups.add_checkpoint(epoch, base.identity)

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
        options, table, updater, base = self.options, self.table, self.updater, self.base
        response = pb.StatusResponse(
            shard_index=options.index,
            shard_count=options.count,
            ready=self.ready,
            state=self.state,
            checkpoint=base.place or str(options.checkpoint or ""),
            server_start=self.start_number,
            deployment=options.deployment,
            checkpoint_id=base.identity,
            checkpoint_seconds=base.seconds,
            features=feature_messages(self.lookups.features.totals()),
        )
        if table is not None:
            now = table.status()
            response.version, response.rows, response.evicted = now.version, now.base_rows, now.evicted
            response.rows_by_dim.update(now.base_rows_by_dim)
            response.bytes = now.base_bytes + now.layer_bytes + now.retained_bytes + now.variant_bytes
            response.epoch, response.epoch_low = now.epoch, now.epoch_low
            response.retained_bytes, response.epochs_given_up = now.retained_bytes, now.epochs_given_up
            variants, lookups = self._variants(), self.lookups.variant_totals()
            for key, own in now.variants.items():
                if name := variants.get(key):
                    response.variants.add(name=name, rows=own.rows, bytes=own.bytes, lookups=lookups.get(key, 0))
        response.unknown_variant_lookups = self.lookups.unknown_variants()
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
                response.checkpoint_by_epochs = epochs.names_checkpoints
        return response
