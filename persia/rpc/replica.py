"""One server as its callers see it: whether it can be used, by which way, and the connections to it that wait for work."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import grpc

from persia.errors import PersiaError
from persia.rpc.bell import Bell
from persia.rpc.connection import Connection, FrameConnection, GrpcConnection
from persia.rpc.methods import Method
from persia.rpc.server import KEEPALIVE, MAX_MESSAGE_BYTES
from persia.rpc.status import error_of

__all__ = ["HANGS", "Health", "Probe", "Replica"]

log = logging.getLogger(__name__)

HANGS = 2

# How often a server is asked how it is: while all is well, and while it is not. A lost connection asks at once.
_WELL_SECONDS = 1.0
_ILL_SECONDS = 0.05
# After so long nobody expects it back soon.
_LONG_ILL_SECONDS = 30.0
_GONE_SECONDS = 0.5
_PROBE_SECONDS = 1.0
# How long a server that was slower than another one is asked only where there is no other.
_SLOW_SECONDS = 1.0
# How long a port that was not reached is not tried again.
_NO_FRAMES_SECONDS = 30.0
# Connections that wait for work; more than that are closed after use.
_MAX_IDLE = 64

# gRPC's own would add a wait of up to two minutes to every restart of a server, and would wait 20 s for a connection.
CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # which is how long a connection may take
    ("grpc.max_reconnect_backoff_ms", 250),
    # Else a channel shares the back-off of others to the same address.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    *KEEPALIVE,
]


@dataclass(frozen=True)
class Health:
    """What a server says of itself. `refused`: why it must not be used, although it is well."""

    ready: bool
    state: str
    frame_port: int = 0
    refused: str = ""
    version: int = 0
    rows: int = 0
    start: int = 0  # tells one start of the server from another; 0: not said
    checkpoint: int = 0  # the identity of the one that it loaded; 0: none, or not said
    checkpoint_seconds: int = 0  # when training wrote it

    @property
    def well(self) -> bool:
        """Whether it may be asked, as far as it alone is concerned."""
        return self.ready and not self.refused


# Asks a server over a channel, with a timeout in seconds. Raises grpc.RpcError: UNAVAILABLE at once if it cannot be reached.
Probe = Callable[[grpc.Channel, float], Health]


class Replica:
    """Has a thread that probes the server until close(). All else may be called from any thread."""

    def __init__(self, method: Method, probe: Probe, host: str, port: int, on_change: Callable[[], None]) -> None:
        """It is probed from now on.

        Args:
            method: The call that it is asked with.
            probe: Asks it how it is.
            host: An address, not a name.
            port: Of gRPC.
            on_change: Called when it became well, ceased to be, or has another checkpoint; not by close().
        """
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._method, self._probe, self._host = method, probe, host
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.health = Health(False, "not reached yet")
        self.usable = False
        self.excluded = ""  # why it is not to be asked although it is well, because of others
        self._on_change = on_change
        self.unusable_since = time.monotonic()  # where it is unusable
        self._slow_until = self._hangs_until = 0.0
        self._generation = 0
        # Over the generation and the health, where they change together. Reentrant: the garbage collector may close a context,
        # and so this, in the thread that has it.
        self._lock = threading.RLock()
        # The generation and port that frames get through to, or do not, until which time this is believed.
        self._frames: tuple[int, int] | None = None
        self._no_frames: tuple[int, int] | None = None
        self._no_frames_until = 0.0
        self._idle: deque[tuple[int, Connection]] = deque()
        self._channel = grpc.insecure_channel(self.address, CHANNEL_OPTIONS)
        self._wake, self._closed = Bell(), False
        self._thread = threading.Thread(target=self._watch, name=f"probe {self.address}", daemon=True)
        self._thread.start()

    @property
    def generation(self) -> int:
        """Of connections: a failure of one ends all of its generation."""
        return self._generation

    @property
    def trouble(self) -> int:
        """Others with less go first. 0: none, 1: it was slower than it should be, HANGS: it has not even answered a probe."""
        now = time.monotonic()
        return HANGS if now < self._hangs_until else int(now < self._slow_until)

    def slow(self) -> None:
        """It was slower than it should be: others go first for a while."""
        self._slow_until = time.monotonic() + _SLOW_SECONDS

    def suspect(self, generation: int, reason: str) -> None:
        """A connection of that generation failed: the server is not used again before it has said that it is well."""
        if self._end(generation, reason):
            self._on_change()

    def _end(self, generation: int, reason: str) -> bool:
        """As suspect(); whether it was well before."""
        with self._lock:
            if generation != self._generation:
                return False  # known already
            self._generation += 1
            changed = self._become(replace(self.health, ready=False, state=reason))
        self._wake.ring()
        return changed

    @property
    def well(self) -> bool:
        """Whether it may be asked, as far as it alone is concerned."""
        return self.health.well

    def why_unusable(self) -> str:
        """What it says, or why it is excluded."""
        return self.health.refused or (self.excluded if self.well else "") or self.health.state

    def exclude(self, reason: str) -> None:
        """It is not asked, although it is well, until it is called with an empty reason."""
        with self._lock:
            self.excluded = reason
            self._become(self.health)

    def connect(self) -> tuple[int, Connection]:
        """A connection that waits for a request, or is being opened. Give it back with release(). Raises Unavailable."""
        while True:
            try:
                generation, connection = self._idle.pop()
            except IndexError:
                break
            if generation == self._generation and not connection.is_stale():
                return generation, connection
            connection.close()
        generation, frames = self._generation, self._frames
        if frames is not None and frames[0] == generation:
            return generation, FrameConnection(self._method, self._family, (self._host, frames[1]))
        return generation, GrpcConnection(self._method, self._channel)

    def release(self, generation: int, connection: Connection) -> None:
        """The connection's request is answered, and it may be used again."""
        if generation == self._generation and len(self._idle) < _MAX_IDLE:
            self._idle.append((generation, connection))
            if self._closed:  # meanwhile
                self._close_idle()
        else:
            connection.close()

    def close(self) -> None:
        """Requests that run over frames may come to their end."""
        self._closed = True
        # Nobody is told: where the garbage collector closes it, others may hold what on_change waits for, and wait for this.
        self._end(self._generation, "closed")
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread took it
                self._idle.pop()[1].close()

    def _watch(self) -> None:
        while not self._closed:
            self._wake.silence()
            before, generation = self.health, self._generation
            try:
                health = self._probe(self._channel, _PROBE_SECONDS)
            except grpc.RpcError as error:
                health = self._failed(before, error)
            except Exception as error:  # out of threads, for instance: it may be mended
                log.exception("%s cannot be asked how it is", self.address)
                health = replace(before, ready=False, state=str(error))
            if health.ready:
                self._try_frames(generation, health.frame_port)
            with self._lock:
                known = generation == self._generation  # else it failed after it answered
                changed = known and self._become(health)
            if known:
                self._say(before, health)
            if changed:
                self._on_change()
            self._wake.wait(_WELL_SECONDS if self.well else self._ill_seconds())
        self._channel.close()

    def _ill_seconds(self) -> float:
        return _ILL_SECONDS if time.monotonic() < self.unusable_since + _LONG_ILL_SECONDS else _GONE_SECONDS

    def _become(self, health: Health) -> bool:
        """Whether that concerns who chooses between replicas."""
        was_usable, before = self.usable, self.health
        self.health, self.usable = health, health.well and not self.excluded
        if was_usable and not self.usable:
            self.unusable_since = time.monotonic()
        return health.well != before.well or health.checkpoint != before.checkpoint

    def _try_frames(self, generation: int, port: int) -> None:
        """A port that a firewall closes is found out here, where nobody waits for an answer."""
        target = generation, port
        if not port or self._frames == target or (self._no_frames == target and time.monotonic() < self._no_frames_until):
            return
        try:
            socket.create_connection((self._host, port), _PROBE_SECONDS).close()
            self._frames = target
        except OSError as error:
            if self._no_frames is None:
                log.warning("%s: port %d is not reached (%s): lookups go over gRPC, slower", self.address, port, error)
            self._no_frames, self._no_frames_until = target, time.monotonic() + _NO_FRAMES_SECONDS

    def _failed(self, before: Health, error: grpc.RpcError) -> Health:
        code, details = error.code(), error.details()
        if code == grpc.StatusCode.DEADLINE_EXCEEDED and before.ready:
            self._hangs_until = time.monotonic() + _WELL_SECONDS + _PROBE_SECONDS + _SLOW_SECONDS  # until after the next probe
            return before  # too busy for a word is not gone
        reason: PersiaError = error_of(code, str(details))
        return replace(before, ready=False, state=str(reason) or code.name, refused="")

    def _say(self, before: Health, now: Health) -> None:
        if now.refused and now.refused != before.refused:
            log.error("%s is not used: %s", self.address, now.refused)
        elif now.well and not before.well:
            log.info("%s is ready", self.address)
        elif before.ready and not now.ready:
            log.warning("%s is not ready: %s", self.address, now.state)
