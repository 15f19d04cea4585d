"""How lookups travel in frames (docs/formats/frames.md). Use persia.rpc rather than this.

`from persia import _core`, then `_core.net`: it is a part of that extension, not a module of a package.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

from persia._core import FeatureCounts, ShardRequest, Table

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
