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
from persia.routing.lookup import Lookup, OnRoom, RouterOptions
from persia.routing.router import Router
from persia.routing.topology import config_of
from persia.rpc.methods import DIRECTIONS
from persia.v1 import middleware_pb2 as pb

__all__ = ["Shortcut"]

log = logging.getLogger(__name__)

# How long lookups go to the middleware after the embedding servers themselves could not be asked, and after one of them let a
# lookup wait for nothing: the middleware may reach what is cut off from here.
_LOST_SECONDS = 0.5
_HANGS_SECONDS = 10.0
# Of several middlewares the one that gave directions is followed, until it has been silent for so long.
_SILENT_SECONDS = 5.0

_NOTHING = pb.DirectionsRequest().SerializeToString()


class _Route:
    """A router to the servers that directions name, and by what it knows them."""

    def __init__(self, directions: pb.DirectionsResponse, options: RouterOptions, expected_slots: ExpectedSlots | None) -> None:
        """Raises InvalidInput; ConfigError where the middleware's embedding config is not as expected."""
        self._directions = directions
        servers = [list(shard.addresses) for shard in directions.shards]
        for problem in map(address_problem, itertools.chain(*servers)):
            if problem:
                raise InvalidInput(problem)
        options = replace(
            options,
            hedge_after=directions.hedge_after_ms / 1000,
            mixed_checkpoints=directions.mixed_checkpoints or options.mixed_checkpoints,  # an older middleware does not say
        )
        config = config_of(directions.embedding_config)
        if expected_slots is not None:
            expected_slots.check(config)
        self.router = Router(config, servers, options, frozenset(directions.server_starts))
        self.router.missing()  # connects

    def follows(self, directions: pb.DirectionsResponse) -> bool:
        """Whether it leads where these do; then it also knows the servers that they know."""
        if _without_servers(directions) != _without_servers(self._directions):
            return False
        self._directions = directions
        self.router.know(frozenset(directions.server_starts))
        return True


def _without_servers(directions: pb.DirectionsResponse) -> pb.DirectionsResponse:
    lasting = pb.DirectionsResponse()
    lasting.CopyFrom(directions)
    lasting.ClearField("server_starts")
    return lasting


class Shortcut:
    """Asks the embedding servers as a middleware directs, else the middleware. Any number of threads may use it.

    A server counts only while the middleware knows it by its start number: the same address may be another server here.
    """

    def __init__(self, addresses: Sequence[str], options: RouterOptions, expects: Sequence[SlotLike] | None = None) -> None:
        """addresses: `host:port` of one or more middlewares that do the same. expects: as for a MiddlewareClient."""
        self._expected_slots = ExpectedSlots(expects) if expects is not None else None
        # What becomes of a lookup without a shard is the middleware's to say. So it is asked at once.
        self._options = replace(options, wait_for_shard=0.0, zeros_for_missing_shards=False)
        self._timeout = options.timeout
        self._middleware = MiddlewareClient(addresses, options, self._ask_for_directions, expects)
        # Over what follows, but for reading the route. Reentrant: the garbage collector may close it in the thread that has it.
        self._lock = threading.RLock()
        self._closed = False
        self._guide: _core.net.Replica | None = None
        self._heard = 0.0
        self._route: _Route | None = None
        self._rests_until = 0.0

    def lookup(self, batch: _core.Batch, timeout: float | None = None, on_room: OnRoom | None = None) -> Lookup:
        """As Lookups.lookup."""
        seconds = self._timeout if timeout is None else timeout
        now = time.monotonic()
        end = now + seconds
        route = self._route
        if route is not None and now >= self._rests_until:
            try:
                return route.router.lookup(batch, seconds, on_room)
            except DeadlineExceeded as error:
                if route.router.hanging():  # else its caller was in a hurry
                    self._rest(route, _HANGS_SECONDS, error)
                raise
            except Unavailable as error:
                self._rest(route, _LOST_SECONDS, error)
            except InvalidInput:
                # Unless it was closed meanwhile, the batch does not fit the config: it may be an old one.
                if self._route is route and self._middleware.why_not_ready():
                    raise
        return self._middleware.lookup(batch, max(0.0, end - time.monotonic()), on_room)

    def why_not_ready(self) -> str:
        """As the middleware's."""
        return self._middleware.why_not_ready()

    def close(self) -> None:
        """Ends its connections and threads."""
        self._middleware.close()
        with self._lock:
            self._closed = True
            self._take(None)

    def _rest(self, route: _Route, seconds: float, error: PersiaError) -> None:
        if self._route is route:  # else it failed because there is another one now
            self._rests_until = max(self._rests_until, time.monotonic() + seconds)
            log.info("lookups go to the middleware for %.1f s: %s", seconds, error)

    def _ask_for_directions(self, middleware: _core.net.Replica, seconds: float) -> None:
        try:
            # One that has just come back is not asked for lookups before this probe has ended: what leads around it stays.
            if self._middleware.why_not_ready():
                return
            directions = pb.DirectionsResponse.FromString(middleware.call(DIRECTIONS, _NOTHING, seconds))
        except NotFound:  # it is an older one, which wants to be asked itself
            directions = pb.DirectionsResponse()
        except PersiaError:  # closed meanwhile, or it has no time
            return
        with self._lock:
            now = time.monotonic()
            if self._closed or (self._guide not in (None, middleware) and now < self._heard + _SILENT_SECONDS):
                return
            self._guide, self._heard = middleware, now
            self._follow(directions)
            if self._closed:  # meanwhile
                self._take(None)

    def _follow(self, directions: pb.DirectionsResponse) -> None:
        if not directions.shards:
            self._take(None)
        elif self._route is None or not self._route.follows(directions):
            try:
                self._take(_Route(directions, self._options, self._expected_slots))
            except (InvalidInput, ConfigError) as error:
                log.debug("lookups go to the middleware: %s", error)
                self._take(None)  # the old one may lead to other rows

    def _take(self, route: _Route | None) -> None:
        before, self._route = self._route, route
        if before is not None and before is not route:
            before.router.close()
