"""Lookups that a middleware could do, done without it: a hop less, where its embedding servers can be reached from here."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from persia import _core
from persia.config.servers import address_problem
from persia.config.slots_match import SlotLike
from persia.errors import ConfigError, DeadlineExceeded, InvalidInput, NotFound, PersiaError, Unavailable
from persia.routing.expected_slots import ExpectedSlots
from persia.routing.forwarded import MiddlewareClient
from persia.routing.lookup import Lookup, OnBuffers, RouterOptions
from persia.routing.reached_epochs import ReachedEpochs, fell
from persia.routing.router import Router
from persia.routing.topology import config_of
from persia.rpc.wire import DIRECTIONS
from persia.v1 import middleware_pb2 as pb

__all__ = ["BypassRouter"]

log = logging.getLogger(__name__)

# How long lookups go to the middleware after an embedding server let one wait for nothing: the middleware may reach what is cut
# off from here.
_HANGS_SECONDS = 10.0
# Of several middlewares the one that told its topology is followed, until it has been silent for so long.
_SILENT_SECONDS = 5.0

_NOTHING = pb.DirectionsRequest().SerializeToString()


class _Bypass:
    """A router to the servers that a middleware names, and the start numbers by which the middleware knows them."""

    def __init__(self, topology: pb.DirectionsResponse, options: RouterOptions, expected_slots: ExpectedSlots | None) -> None:
        """Raises InvalidInput; ConfigError where the middleware's embedding config is not as expected."""
        self._topology = topology
        servers = [list(shard.addresses) for shard in topology.shards]
        for problem in map(address_problem, itertools.chain(*servers)):
            if problem:
                raise InvalidInput(problem)
        options = replace(
            options,
            hedge_after=topology.hedge_after_ms / 1000,
            mixed_checkpoints=topology.mixed_checkpoints or options.mixed_checkpoints,  # an older middleware does not say
        )
        config = config_of(topology.embedding_config)
        if expected_slots is not None:
            expected_slots.check(config)
        self.router = Router(config, servers, options, frozenset(topology.server_starts))
        self.router.missing()  # connects

    def takes(self, topology: pb.DirectionsResponse) -> bool:
        """Whether the servers stand where they stood; then those that the middleware knows now are known here too."""
        if _without_servers(topology) != _without_servers(self._topology):
            return False
        self._topology = topology
        self.router.set_known_starts(frozenset(topology.server_starts))
        return True


def _without_servers(topology: pb.DirectionsResponse) -> pb.DirectionsResponse:
    lasting = pb.DirectionsResponse()
    lasting.CopyFrom(topology)
    lasting.ClearField("server_starts")
    return lasting


class BypassRouter:
    """Asks the embedding servers that a middleware names, else the middleware. Any number of threads may use it.

    A server counts only while the middleware knows it by its start number: the same address may be another server here.
    """

    def __init__(self, addresses: Sequence[str], options: RouterOptions, expects: Sequence[SlotLike] | None = None) -> None:
        """addresses: `host:port` of one or more middlewares that do the same. expects: as for a MiddlewareClient."""
        self._expected_slots = ExpectedSlots(expects) if expects is not None else None
        # What becomes of a lookup without a shard is the middleware's to say. So it is asked at once.
        self._options = replace(options, wait_for_shard=0.0, zeros_for_missing_shards=False)
        self._timeout = options.timeout
        self._middleware = MiddlewareClient(addresses, options, self._ask_for_topology, expects)
        # Over what follows, but for reading the bypass. Reentrant: the garbage collector may close it in a thread that has it.
        self._lock = threading.RLock()
        self._closed = False
        self._source: _core.net.Replica | None = None
        self._heard = 0.0
        self._bypass: _Bypass | None = None
        self._rests_until = 0.0
        self._epochs = ReachedEpochs()

    def lookup(
        self,
        batch: _core.Batch,
        timeout: float | None = None,
        on_buffers: OnBuffers | None = None,
        min_epoch: int = 0,
        variant: str = "",
    ) -> Lookup:
        """Does what Lookups.lookup says. No answer is of an earlier epoch than one of before, whichever way they came."""
        seconds = self._timeout if timeout is None else timeout
        now = time.monotonic()
        end = now + seconds
        bypass = self._bypass
        reached = self._epochs.of(variant)
        if bypass is not None and now >= self._rests_until:
            try:
                found = bypass.router.lookup(batch, seconds, on_buffers, min_epoch, variant)
                if not fell(found.epoch, reached):
                    self._epochs.note(variant, found.epoch)
                    return found
                min_epoch = max(min_epoch, reached)  # it is another router than the one that had reached it
            except DeadlineExceeded as error:
                if bypass.router.hanging():  # else its caller was in a hurry
                    self._rest(bypass, _HANGS_SECONDS, error)
                raise
            except Unavailable as error:
                self._rest(bypass, self._options.bypass_rest, error)
            except InvalidInput:
                # Unless it was closed meanwhile, the batch does not fit the config: it may be an old one.
                if self._bypass is bypass and self._middleware.why_not_ready():
                    raise
        found = self._middleware.lookup(batch, max(0.0, end - time.monotonic()), on_buffers, min_epoch, variant)
        if fell(found.epoch, reached):  # it was not asked while lookups went to the servers, and has not heard of it
            min_epoch = max(min_epoch, reached)
            found = self._middleware.lookup(batch, max(0.0, end - time.monotonic()), on_buffers, min_epoch, variant)
        self._epochs.note(variant, found.epoch)
        return found

    def why_not_ready(self) -> str:
        """As the middleware's."""
        return self._middleware.why_not_ready()

    def close(self) -> None:
        """Ends its connections and threads."""
        self._middleware.close()
        with self._lock:
            self._closed = True
            self._take(None)

    def _rest(self, bypass: _Bypass, seconds: float, error: PersiaError) -> None:
        if self._bypass is bypass:  # else it failed because there is another one now
            self._rests_until = max(self._rests_until, time.monotonic() + seconds)
            log.info("lookups go to the middleware for %.1f s: %s", seconds, error)

    def _ask_for_topology(self, middleware: _core.net.Replica, seconds: float) -> None:
        try:
            # One that has just come back is not asked for lookups before this probe has ended: the bypass stays.
            if self._middleware.why_not_ready():
                return
            topology = pb.DirectionsResponse.FromString(middleware.call(DIRECTIONS, _NOTHING, seconds))
        except NotFound:  # it is an older one, which wants to be asked itself
            topology = pb.DirectionsResponse()
        except PersiaError:  # closed meanwhile, or it has no time
            return
        with self._lock:
            now = time.monotonic()
            if self._closed or (self._source not in (None, middleware) and now < self._heard + _SILENT_SECONDS):
                return
            self._source, self._heard = middleware, now
            self._follow(topology)
            if self._closed:  # meanwhile
                self._take(None)

    def _follow(self, topology: pb.DirectionsResponse) -> None:
        if not topology.shards:
            self._take(None)
        elif self._bypass is None or not self._bypass.takes(topology):
            try:
                self._take(_Bypass(topology, self._options, self._expected_slots))
            except (InvalidInput, ConfigError) as error:
                log.debug("lookups go to the middleware: %s", error)
                self._take(None)  # the old one may lead to other rows

    def _take(self, bypass: _Bypass | None) -> None:
        before, self._bypass = self._bypass, bypass
        if before is not None and before is not bypass:
            before.router.close()
