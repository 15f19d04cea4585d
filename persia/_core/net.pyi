"""gRPC, and those who are asked over it. Use persia.rpc and persia.routing rather than this.

`from persia import _core`, then `_core.net`: it is a part of that extension, not a module of a package.
"""

import numpy as np
import numpy.typing as npt

from persia._core import Batch, FeatureCounts, Slots
from persia._core._servers import CallObserver as CallObserver
from persia._core._servers import CallQueue as CallQueue
from persia._core._servers import CallTotals as CallTotals
from persia._core._servers import ForwardCounts as ForwardCounts
from persia._core._servers import ForwardTotals as ForwardTotals
from persia._core._servers import Health as Health
from persia._core._servers import HistogramTotals as HistogramTotals
from persia._core._servers import LookupContext as LookupContext
from persia._core._servers import LookupTotals as LookupTotals
from persia._core._servers import Message as Message
from persia._core._servers import Method as Method
from persia._core._servers import Server as Server
from persia._core._servers import ServerCall as ServerCall
from persia._core._servers import constant_method as constant_method
from persia._core._servers import forward_method as forward_method
from persia._core._servers import lookup_method as lookup_method
from persia._core.security import TlsContext, TokenSource
from persia._core.tracing import Caller

class ReplicaHealth:
    """What a server says of itself; as persia.rpc.prober.Health."""

    @property
    def ready(self) -> bool: ...
    @property
    def state(self) -> str: ...
    @property
    def refused(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def server_start(self) -> int: ...
    @property
    def checkpoint_id(self) -> int: ...
    @property
    def checkpoint_seconds(self) -> int: ...
    @property
    def epoch_low(self) -> int: ...
    @property
    def epoch_high(self) -> int: ...
    @property
    def checkpoint_by_epochs(self) -> bool: ...
    @property
    def well(self) -> bool:
        """Whether it may be asked, as far as it alone is concerned."""

class Replica:
    """One server, and the connections to it. Any thread may use it."""

    def __init__(self, address: str, host: str = "", tls: TlsContext | None = None, token: TokenSource | None = None) -> None:
        """Connects when it is asked.

        Args:
            address: `127.0.0.1:5000`, `[::1]:5000` or `unix:/path`.
            host: Whose certificate it has to show; empty: that of the address.
            tls: What connections are encrypted with; None: they are not.
            token: Shown with each call; None: none is.
        """
    @property
    def address(self) -> str: ...
    @property
    def generation(self) -> int:
        """Of connections: a failure of one ends all of its generation."""
    @property
    def usable(self) -> bool:
        """Whether it may be asked: it is well, not excluded, and not closed."""
    @property
    def well(self) -> bool: ...
    @property
    def health(self) -> ReplicaHealth: ...
    @property
    def excluded(self) -> str:
        """Why it is not asked although it is well; empty: it is."""
    @property
    def closed(self) -> bool: ...
    @property
    def idle_connections(self) -> int: ...
    @property
    def unusable_since(self) -> float:
        """time.monotonic(), where it is unusable."""
    @property
    def standing(self) -> int:
        """Others with less go first. 0: well, 1: it was slower than it should be, 2: it has not even answered a probe."""
    def why_unusable(self) -> str:
        """What it says, or why it is excluded."""
    def mark_hanging(self, seconds: float) -> None:
        """For so long, others go first."""
    def suspect(self, generation: int, reason: str) -> None:
        """A connection of that generation failed: the server is not used again before it has said that it is well."""
    def set_health(
        self,
        generation: int,
        *,
        ready: bool,
        state: str,
        refused: str = "",
        version: int = 0,
        rows: int = 0,
        server_start: int = 0,
        checkpoint_id: int = 0,
        checkpoint_seconds: int = 0,
        epoch_low: int = 0,
        epoch_high: int = 0,
        checkpoint_by_epochs: bool = False,
    ) -> str:
        """What it said when it was asked; generation: before that.

        Returns "outdated": a connection has failed since, and it was not taken; "changed": in what concerns those who choose
        between replicas; else "same".
        """
    def exclude(self, reason: str) -> None:
        """It is not asked, although it is well, until it is called with an empty reason."""
    def wait_for_change(self, generation: int, seconds: float) -> bool:
        """Whether the generation is another one, or it was closed, within so long."""
    def call(self, path: str, message: bytes, seconds: float) -> bytes:
        """One call, whatever its health is, and without a change to it.

        Raises:
            Unavailable: It cannot be reached.
            DeadlineExceeded: Not in time.
            PersiaError: What it says.
        """
    def close(self) -> None:
        """Calls that run may come to their end."""

class ReplicaSet:
    """Servers that can do the same work. Any thread may use it."""

    def __init__(self, name: str, replicas: list[Replica]) -> None:
        """name: stands in messages, such as `shard 1 of 2`."""
    @property
    def name(self) -> str: ...
    @property
    def replicas(self) -> list[Replica]:
        """As they are now."""
    def set_replicas(self, replicas: list[Replica], unresolved: str = "") -> None:
        """unresolved: what is wrong with names, for messages. Those that are not among them any more are not closed."""
    @property
    def usable(self) -> bool:
        """Whether one of them is."""
    @property
    def hanging(self) -> bool:
        """Whether no replica that can be used answers even probes."""
    def why_unusable(self) -> str:
        """What each replica says, for a message."""
    def close(self) -> None: ...

class Lookup:
    """A batch's that was begun. For one thread at a time."""

    @property
    def numbers(self) -> npt.NDArray[np.float16]:
        """Of all tensors, one after the other; not there before finish()."""
    @property
    def shapes(self) -> npt.NDArray[np.uint32]:
        """Of each tensor three, as ForwardResponse has them."""
    def finish(self) -> LookupResult:
        """Waits for the answers, once. Unavailable, DeadlineExceeded, or what a server has refused it with."""

class LookupResult:
    """What is to be said of a batch's tensors."""

    @property
    def versions(self) -> list[int]:
        """Of each shard; 0 for one that was not asked."""
    @property
    def absent(self) -> int: ...
    @property
    def wrong_dim(self) -> int: ...
    @property
    def missing_shards(self) -> list[int]:
        """Whose rows are zeros."""
    @property
    def counts(self) -> npt.NDArray[np.uint32]:
        """Of each feature four, as ForwardResponse has them. To be read once."""
    @property
    def checkpoint_id(self) -> int: ...
    @property
    def epoch(self) -> int:
        """That all rows are of; 0: there is a server that follows no epochs."""
    @property
    def asking_seconds(self) -> float:
        """From the first request to the last answer."""

class Router:
    """Plans, asks the shards, checks and assembles. Any thread may use it."""

    def __init__(
        self,
        slots: Slots,
        shards: list[ReplicaSet],
        *,
        hedge_after: float,
        wait_for_service: float,
        spin_for: float,
        zeros_for_missing_shards: bool = False,
        rows_for: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        """Seconds, as RouterOptions has them. slots: by which ids become signs; shards: in order.

        rows_for: the keys of a dense model and of its version, and of a variant; zeros: of none. A router has no variant.
        """
    def begin(self, batch: Batch, seconds: float, min_epoch: int = 0, variant: int = 0, caller: Caller | None = None) -> Lookup:
        """Waits for its turn, and sends what is to be asked. InvalidInput, TooLarge, Overloaded.

        min_epoch: the answer is to be of that epoch or of a later one. variant: the key of one, whose rows go first; 0: none.
        caller: for whom spans are recorded, of the lookup and of each time that a server is asked.
        """
    def settle(self, checkpoint_id: int, problem: str, known_starts: list[int] | None) -> None:
        """Which answers count from now on.

        Args:
            checkpoint_id: Of the checkpoint whose servers are asked.
            problem: Why there is no such checkpoint; empty: there is.
            known_starts: The server_start of those that count; None: of all.
        """
    def watch(self, rows_for: tuple[int, int, int]) -> None:
        """Somebody looks up here for these, or will."""
    @property
    def watched(self) -> list[tuple[int, int, int]]:
        """Those for which somebody has looked up of late."""
    def note_readable(self, rows_for: tuple[int, int, int], first: int, last: int) -> None:
        """A server has said which epochs may be read for these; zeros: none."""
    @property
    def feature_counts(self) -> FeatureCounts: ...

class RetryBudget:
    """How many calls to the servers of a shard may be asked again, as a router decides it; for simulations."""

    def __init__(self) -> None: ...
    def earn(self) -> None:
        """A call is asked for the first time."""
    def spend(self, now: float) -> bool:
        """False: no more may be asked again. now: seconds, by any clock that does not go back; above 0."""

def newest_common(shards: list[list[tuple[int, int]]]) -> int:
    """The newest epoch that a replica of each shard has, as a router chooses it; 0: there is none.

    shards: of each replica of each shard, the oldest and the newest epoch that it has; zeros: it follows none.
    """

class IdSet:
    """Numbers that are good, more of which may become known. Any thread may use it."""

    def __init__(self) -> None: ...
    def add(self, id: int) -> None: ...
    def __contains__(self, id: int) -> bool: ...

class Forwarded:
    """A middleware's answer, whose arrays share its memory. As ForwardResponse."""

    @property
    def numbers(self) -> npt.NDArray[np.float16]: ...
    @property
    def shapes(self) -> npt.NDArray[np.uint32]: ...
    @property
    def counts(self) -> npt.NDArray[np.uint32]: ...
    @property
    def versions(self) -> list[int]: ...
    @property
    def absent(self) -> int: ...
    @property
    def wrong_dim(self) -> int: ...
    @property
    def missing_shards(self) -> list[int]: ...
    @property
    def embedding_config_id(self) -> int: ...
    @property
    def checkpoint_id(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def variant(self) -> int: ...

def forward(
    middleware: ReplicaSet,
    batch: Batch,
    *,
    seconds: float,
    hedge_after: float,
    wait_for_service: float,
    spin_for: float,
    config_ids: IdSet | None,
    min_epoch: int = 0,
    rows_for: tuple[int, int, int] = (0, 0, 0),
    caller: Caller | None = None,
) -> Forwarded:
    """Has a middleware look up a batch, and waits for its answer.

    Args:
        middleware: Any of them will do.
        batch: Only its ids are sent.
        seconds: How long it may take.
        hedge_after: As for a Router, as the two that follow.
        wait_for_service: How long is waited for one that can be used.
        spin_for: How long at most who waits stays awake.
        config_ids: Embedding configs by which answers may be; None: any.
        min_epoch: The answer is to be of it or of a later one.
        rows_for: As for a Router, and with a variant.
        caller: For whom each time that a middleware is asked is recorded as a span.

    Raises:
        Unavailable: No middleware answers.
        DeadlineExceeded: Not in time.
        Overloaded: This process, or everybody, asks for more than can be done.
        PersiaError: What it says.
    """
