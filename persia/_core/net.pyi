"""How lookups travel in frames (docs/formats/frames.md). Use persia.rpc rather than this.

`from persia import _core`, then `_core.net`: it is a part of that extension, not a module of a package.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

from persia._core import FeatureCounts, ShardRequest, Table
from persia._core.security import Guard, TlsContext

# Lookups that need no Python

class LookupTotals:
    """Since the start."""

    lookups: int
    signs: int
    absent: int
    wrong_dim: int
    seconds: float
    within: list[int]
    """How many took at most each bound, and more than the one before."""
    beyond: int
    """And more than all of them."""

class ShardAnswers:
    """What a shard answers lookups from, and what is counted of them. Any thread may use it."""

    def __init__(self, request: bytes, start: int, max_numbers: int, bounds: Sequence[float], features: Sequence[str]) -> None:
        """request: the message of each request meant for this shard; start: the server_start of answers; max_numbers: of
        an answer; bounds: seconds, ascending, of the histogram of what lookups take; features: what is counted each.
        """
    def open(self, table: Table, checkpoint: int) -> None:
        """From now on, lookups are answered, as of that checkpoint."""
    def close(self) -> None:
        """From now on, they are not."""
    def count(self, parts: Buffer, absent: int, wrong_dim: int, misses: bytes) -> None:
        """A lookup that was answered; misses: by part, as _core.answer gives them."""
    @property
    def features(self) -> FeatureCounts: ...
    def took(self, seconds: float) -> None: ...
    def totals(self) -> LookupTotals: ...

class FrameLane:
    """Answers lookups that come in frames over one connection."""

    def __init__(self, answers: ShardAnswers) -> None: ...
    def serve(self, socket: int) -> bytes:
        """Until a request comes that is not for it: what has come of it; empty at the end of the connection. OSError."""
    @property
    def waits_since(self) -> float:
        """time.monotonic(); infinite while it has a request, or is not in serve()."""

# Requests in frames

class FrameCall:
    """One request at a time over a socket that does not block. For one thread at a time."""

    def __init__(self, socket: int, columns: int, max_bytes: int) -> None:
        """columns: of an answer, its message included; 1 to 6. InvalidInput."""
    def ask(self, turn: int, columns: ShardRequest | list[Buffer], message: bytes, connected: bool) -> None:
        """Begins a request. columns: at most 5; connected: whether the socket is, as yet. TooLarge."""
    def take(self) -> tuple[list[npt.NDArray[np.uint8]], bytes] | None:
        """The columns of the answer, writable, and its message; None unless it is whole."""
    @property
    def failed(self) -> bool:
        """Whether the connection is of no more use."""
    @property
    def error(self) -> int:
        """Why it failed, as the system counts; 0: the other end has closed, or what came is no answer to the request."""
    @property
    def got(self) -> int:
        """How many bytes have come of an answer that is none, or not whole."""
    @property
    def start(self) -> bytes:
        """The first of them, at most a header."""
    @property
    def quiet(self) -> bool:
        """Between two requests: whether nothing has come that nobody asked for, and the other end is still there."""

def exchange(calls: list[FrameCall], descriptors: list[int], seconds: float, awake: float = 0.0) -> None:
    """Advances calls until one of them is whole or has failed, or a descriptor can be read, or a signal comes while it sleeps,
    or the seconds are over.

    awake: for how many seconds at most after they were asked it looks for answers before it sleeps, if the last ones came as
    soon as that.
    """

# A server

class Method:
    """What answers the calls of one path."""

class Message:
    """The bytes of a message, as a buffer."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class ServerCall:
    """A call that Python answers, with what has come of it. Any thread may use it. Once it has ended, nothing has an effect."""

    def take_message(self) -> Message | None:
        """None: the client of a stream has no more, or the call comes again. Afterwards it is an empty message."""
    @property
    def number(self) -> int:
        """The same for all that comes of one call; of no other one that is under way."""
    @property
    def path(self) -> str: ...
    @property
    def peer(self) -> str:
        """`127.0.0.1:40312`, `[::1]:40312`, `unix:`"""
    @property
    def identity(self) -> str:
        """By a certificate or a token; empty: nobody asked for one."""
    @property
    def metadata(self) -> dict[str, str | bytes]:
        """The values of keys that end in `-bin` are bytes."""
    @property
    def seconds_left(self) -> float | None:
        """Until the deadline; None: there is none."""
    @property
    def has_ended(self) -> bool:
        """Whether nobody waits for an answer: it was finished, cancelled or lost, or its time is over."""
    @property
    def unsent(self) -> int:
        """Bytes of the answer that the caller has not taken yet."""
    def send(self, message: Buffer) -> None:
        """One message of an answer. finish() comes after the last."""
    def reply(self, message: Buffer) -> None:
        """The answer of a unary call."""
    def add_trailer(self, key: str, value: str | Buffer) -> None:
        """Metadata that goes with the end, whatever that is. The values of keys that end in `-bin` are bytes. InvalidInput."""
    def finish(self, code: int, message: str = ...) -> None:
        """Ends the call with that status; 0: after all of its messages."""
    def come_again(self, below: int) -> None:
        """Lets next() return the call once more, when fewer bytes than that are unsent or it has ended."""

class CallQueue:
    """A line of calls, which threads of the interpreter answer. What stands in line beyond `most` is refused."""

    def __init__(self, most: int = 1024) -> None: ...
    def next(self, seconds: float) -> ServerCall | None:
        """Waits for so long at most. While what it returns lives, nobody gets the next message of the same call."""
    def close(self) -> None: ...
    @property
    def closed(self) -> bool: ...
    def method(self, takes_stream: bool = False) -> Method:
        """Whose calls stand in this line."""

class Server:
    """A gRPC server. guard: who may call; None: everybody. tls: None: plain text."""

    def __init__(
        self,
        *,
        workers: int = 0,
        max_connections: int = ...,
        max_memory_bytes: int = ...,
        max_message_bytes: int = ...,
        guard: Guard | None = None,
        tls: TlsContext | None = None,
    ) -> None: ...
    def add(self, path: str, method: Method) -> None: ...
    def listen(self, address: str) -> str:
        """`host:port`, `unix:/path`. Returns it with its port. OSError, InvalidInput."""
    def start(self) -> None: ...
    def stop(self, seconds: float) -> None:
        """Takes no new calls, and lets those that run finish for so long."""
    def counts(self) -> dict[str, int]: ...

class Health:
    """grpc.health.v1.Health."""

    def __init__(self, services: Sequence[str]) -> None: ...
    def add_to(self, server: Server) -> None: ...
    def set_serving(self, serving: bool) -> None: ...
    def leave(self) -> None:
        """Not serving from now on, whatever set_serving() says."""
