"""From a decoded batch to tensors: plan, ask all shards at once, assemble. The native core does it; here is whom it asks."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from persia import _core
from persia.config import EmbeddingConfig
from persia.core_spans import caller_here, core_spans
from persia.misses import MissReporter
from persia.routing.checkpoint_choice import CheckpointChoice
from persia.routing.lookup import Lookup, OnBuffers, RouterOptions, RowsKey, naming
from persia.routing.per_process import PerProcess
from persia.routing.shards import shard_services
from persia.routing.slots import make_slots
from persia.rpc.service import Service
from persia.variant import variant_key

__all__ = ["Router"]

_REPORT_SECONDS = 1.0  # from one look at misses to the next
_MOST_NAMES = 1024  # of variants, also of those that have ended


@dataclass(frozen=True)
class _Opened:
    shards: list[Service]
    native: _core.net.Router


class Router:
    """Asks the embedding servers themselves. Any number of threads may use it, of the process that used it first."""

    def __init__(
        self,
        config: EmbeddingConfig,
        servers: Sequence[Sequence[str]],
        options: RouterOptions,
        known_starts: Collection[int] | None = None,
    ) -> None:
        """A router that is connected when it is first used.

        Args:
            config: By which ids become signs.
            servers: For each shard, in order, the `host:port` of its replicas; a host may be a name that stands for several.
            options: How it behaves when something is wrong.
            known_starts: The start numbers of the servers that it may ask; None: whoever says that it is the shard.
        """
        self.servers, self.options = servers, options
        self._slots = make_slots(config)
        self._known_starts = known_starts
        self._opened = PerProcess(self._open)
        self.checkpoint_choice = CheckpointChoice(options.mixed_checkpoints != "error", self._tell_native)
        self._native: _core.net.Router | None = None
        dims = {slot.name: slot.dim for slot in config.slots.values()}
        self.reporter = MissReporter(lambda: self.native.feature_counts.totals(), dims)
        self._next_report = 0.0
        self._config_id = config.fingerprint_id
        self._wants_spans = core_spans() is not None
        self.variant_names: dict[int, str] = {}  # by their keys, as servers have said them

    @property
    def shards(self) -> list[Service]:
        """Made when they are first needed, in the process that needs them."""
        return self._opened.get().shards

    @property
    def native(self) -> _core.net.Router:
        """As shards."""
        return self._opened.get().native

    def set_known_starts(self, starts: Collection[int]) -> None:
        """From now on, servers with these start numbers may be asked, and no others."""
        self._known_starts = starts
        self._tell_native()

    def lookup(
        self,
        batch: _core.Batch,
        timeout: float | None = None,
        on_buffers: OnBuffers | None = None,
        min_epoch: int = 0,
        variant: str = "",
    ) -> Lookup:
        """Does what Lookups.lookup says."""
        began = time.monotonic()
        seconds = self.options.timeout if timeout is None else timeout
        caller = caller_here() if self._wants_spans else None
        lookup = self.native.begin(batch, seconds, min_epoch, variant_key(variant), caller)
        numbers, shapes = lookup.numbers, lookup.shapes
        if on_buffers is not None:
            on_buffers(numbers, shapes)
        with naming(variant):
            result = lookup.finish()
        if result.absent or result.wrong_dim:
            self._report(began)
        return Lookup(
            numbers=numbers,
            shapes=shapes,
            versions=result.versions,
            absent=result.absent,
            wrong_dim=result.wrong_dim,
            missing_shards=result.missing_shards,
            rpc_seconds=result.asking_seconds,
            batch=batch,
            counts=result.counts,
            checkpoint_id=result.checkpoint_id,
            embedding_config_id=self._config_id,
            epoch=result.epoch,
            variant=variant,
        )

    def _report(self, now: float) -> None:
        """Says in the log what is to be said of misses; not at every lookup that has some."""
        if now >= self._next_report:
            self._next_report = now + _REPORT_SECONDS
            self.reporter.look()

    def watched(self) -> list[RowsKey]:
        """The keys of those for whom somebody looks up here."""
        return [] if self._native is None else self._native.watched

    def note_readable(self, rows_for: RowsKey, first: int, last: int) -> None:
        """A server has said which epochs may be read for one of them."""
        if self._native is not None:
            self._native.note_readable(rows_for, first, last)

    def note_variants(self, names: Iterable[str]) -> None:
        """A server has variants of these names, which lookups know by their keys."""
        for name in names:
            if len(self.variant_names) < _MOST_NAMES:
                self.variant_names.setdefault(variant_key(name), name)

    def why_not_ready(self) -> str:
        """What is missing before a lookup can be answered; empty: nothing. One shard will do where others may be zeros."""
        if self.options.zeros_for_missing_shards and any(shard.usable for shard in self.shards):
            return ""
        return self.missing()

    def missing(self) -> str:
        """The shards that cannot be asked, and why; empty: none."""
        if problem := self.checkpoint_choice.problem:
            return problem
        missing = [shard for shard in self.shards if not shard.usable]
        return "; ".join(f"{shard.name} ({shard.why_unusable()})" for shard in missing)

    def hanging(self) -> bool:
        """Whether there is a shard of which no replica that can be used answers even probes."""
        return any(shard.hanging for shard in self.shards)

    def close(self) -> None:
        """Ends its connections and threads."""
        self._opened.close(_close)

    def __repr__(self) -> str:
        state = "not connected" if self._native is None else self.missing() or "ready"
        return f"Router({[*map(list, self.servers)]}: {state})"

    def _open(self) -> _Opened:
        shards = shard_services(
            self.servers,
            self.options,
            None if self._known_starts is None else self._is_known_start,
            self.checkpoint_choice.settle,
            self,
        )
        options = self.options
        self._native = _core.net.Router(
            self._slots,
            [shard.native for shard in shards],
            hedge_after=options.hedge_after,
            wait_for_service=options.wait_for_shard,
            spin_for=options.stay_awake,
            zeros_for_missing_shards=options.zeros_for_missing_shards,
            rows_for=options.rows_key(),
        )
        self.checkpoint_choice.attach(shards)
        return _Opened(shards, self._native)

    def _is_known_start(self, start: int) -> bool:
        return self._known_starts is not None and start in self._known_starts

    def _tell_native(self) -> None:
        """What was settled, for lookups, which only read it."""
        if self._native is not None:
            known = None if self._known_starts is None else list(self._known_starts)
            self._native.settle(self.checkpoint_choice.identity, self.checkpoint_choice.problem, known)


def _close(opened: _Opened) -> None:
    for shard in opened.shards:
        shard.close()
